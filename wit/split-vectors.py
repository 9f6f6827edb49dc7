"""Makes split-vectors.json: what SEMANTICS' rule of shares says, by a third party.

Independent of the plugin `weighted-split` (Rust, twox-hash) and of the gateway's
fallback, which are both tested on the file. Regenerate it with

    python3 -m venv target/vectors
    target/vectors/bin/pip install xxhash
    target/vectors/bin/python wit/split-vectors.py > wit/split-vectors.json

`cases`   {draw, candidates: [{version, weight}], version}: the winner of the draw.
          Draws are decimal strings, because JSON's numbers end at 2^53. Weights are
          hundredths of a percent.
`none`    the same without a winner: no candidate has a weight.
`shares`  {name, versions: [{version, traffic, default, canAnswer}], effective}: the
          hundredths of each version, in order, after the remainder went to the
          default and the shares of those that cannot answer were moved. Traffic is a
          percent as a decimal string. Only cases whose result divides evenly.
`sticky`  {by, parts, draw, candidates, version}: the draw of a sticky caller, and where
          it falls. Parts are bytes in UTF-8: the endpoint's name, then for `header` the
          values of the header in their order, for `cookie` the cookie's value, for
          `caller` its tenant and its subject. The draw is the XXH3-64 of each part with
          the hash of the parts before it as the seed, the first with 0.
"""

import json
import random
import sys
from decimal import Decimal, getcontext

import xxhash

getcontext().prec = 60
CLOSE = Decimal("1e-12")


def upper_bits(name, draw):
    return xxhash.xxh3_64_intdigest(name.encode(), seed=draw) >> 11


def scores(draw, candidates):
    """Exact to 60 digits, so that no platform's logarithm decides a case."""
    found = []
    for name, weight in candidates:
        if weight == 0:
            continue
        u = (Decimal(upper_bits(name, draw)) + Decimal("0.5")) / Decimal(2**53)
        found.append((Decimal(weight) / -u.ln(), name))
    return found


def winner(draw, candidates):
    found = scores(draw, candidates)
    if not found:
        return None
    best = max(score for score, _ in found)
    near = [name for score, name in found if score != best and best - score < best * CLOSE]
    if near:
        raise ValueError(f"draw {draw}: {near} are too close for floating point")
    return min(name for score, name in found if score == best)


def case(draw, candidates):
    made = {
        "draw": str(draw),
        "candidates": [{"version": name, "weight": weight} for name, weight in candidates],
    }
    won = winner(draw, candidates)
    if won is not None:
        made["version"] = won
    return made


def cases():
    chance = random.Random(20261123)
    edges = [0, 1, 2**31, 2**32 - 1, 2**32, 2**53 - 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1]
    blue_green = [("blue", 8000), ("green", 2000)]
    for draw in edges:
        yield case(draw, blue_green)
        yield case(draw, [("green", 2000), ("blue", 8000)])
        yield case(draw, [("solo", 10000)])
        yield case(draw, [("solo", 1)])
        yield case(draw, [("blue", 10000), ("green", 0)])
        yield case(draw, [("blue", 0), ("green", 1), ("red", 0)])
    # Decimals of a percent: 12.5, 87.5; 0.01, 99.99; 33.33, 33.33, 33.34.
    for _ in range(40):
        draw = chance.getrandbits(64)
        yield case(draw, [("blue", 1250), ("green", 8750)])
        yield case(draw, [("blue", 1), ("green", 9999)])
        yield case(draw, [("v1a", 3333), ("v2a", 3333), ("v3a", 3334)])
    # The same draws while the weight moves from one to the other.
    for _ in range(10):
        draw = chance.getrandbits(64)
        for weight in (0, 500, 2500, 5000, 7500, 10000):
            yield case(draw, [("blue", 10000 - weight), ("green", weight)])
    # Names of every length that XXH3 treats in its own way (1-3, 4-8, 9-16, 17-128 bytes).
    names = ["abc", "blue", "release-8", "release-candidate", "a" + "b-" * 15 + "c"]
    for _ in range(30):
        draw = chance.getrandbits(64)
        yield case(draw, [(name, 2000) for name in names])
    # Up to six versions with any weights.
    pool = names + ["green", "canary", "x9x", "prod-2026-11", "shadow"]
    for _ in range(120):
        some = chance.sample(pool, chance.randint(2, 6))
        draw = chance.getrandbits(64)
        weighted = [(name, chance.choice([0, 1, 7, 100, 999, 2500, 10000])) for name in some]
        weighted[-1] = (some[-1], 50)
        yield case(draw, weighted)
    # Ties: two names whose hashes under draw 0 agree in the upper 53 bits (found by
    # a birthday search over 2^28 names); the smaller name wins, wherever it stands.
    for one, other in TIES:
        if upper_bits(one, 0) != upper_bits(other, 0):
            raise ValueError(f"{one} and {other} are no tie")
        yield case(0, [(one, 5000), (other, 5000)])
        yield case(0, [(other, 5000), (one, 5000)])
        yield case(0, [(one, 5000), (other, 4999)])
        yield case(0, [(one, 4999), (other, 5000)])


TIES = [("hu1nnocx", "kfzyizts"), ("aol0kvoj", "ni4f2wko")]


def share(name, versions, effective):
    if sum(effective) != 10000:
        raise ValueError(f"{name}: {sum(effective)}")
    keys = ("version", "traffic", "default", "canAnswer")
    return {
        "name": name,
        "versions": [dict(zip(keys, (*one, True) if len(one) == 3 else one)) for one in versions],
        "effective": effective,
    }


SHARES = [
    share("what is left over goes to the default", [("a", "20", True)], [10000]),
    share("on top of the default's own share", [("a", "20", True), ("b", "10", False)], [9000, 1000]),
    share("the default may be any version", [("a", "20", False), ("b", "40", True)], [2000, 8000]),
    share(
        "test 10, prod 30, rest default",
        [("test", "10", False), ("prod", "30", False), ("rest", "0", True)],
        [1000, 3000, 6000],
    ),
    share("nothing is left over", [("a", "80", True), ("b", "20", False)], [8000, 2000]),
    share("decimals", [("a", "12.5", False), ("b", "0.01", False), ("c", "0", True)], [1250, 1, 8749]),
    share("all to a version that is not the default", [("a", "0", True), ("b", "100", False)], [0, 10000]),
    share(
        "a version that cannot answer gives its share to the default",
        [("a", "70", True, True), ("b", "20", False, False), ("c", "10", False, True)],
        [9000, 0, 1000],
    ),
    share(
        "a default that cannot answer gives its share to the others, as theirs are",
        [("a", "50", True, False), ("b", "40", False, True), ("c", "10", False, True)],
        [0, 8000, 2000],
    ),
    share(
        "the remainder moves with the default's share",
        [("a", "0", True, False), ("b", "30", False, True), ("c", "10", False, True)],
        [0, 7500, 2500],
    ),
    share(
        "two that cannot answer",
        [("a", "60", True, False), ("b", "30", False, False), ("c", "10", False, True)],
        [0, 0, 10000],
    ),
    share(
        "where none can answer, nothing moves",
        [("a", "60", True, False), ("b", "40", False, False)],
        [6000, 4000],
    ),
]


def draw_of(parts):
    seed = 0
    for part in parts:
        seed = xxhash.xxh3_64_intdigest(part.encode(), seed=seed)
    return seed


def sticky(by, parts, candidates):
    made = case(draw_of(parts), candidates)
    return {"by": by, "parts": parts, **made}


def stickies():
    blue_green = [("blue", 8000), ("green", 2000)]
    for user in ["ada", "eve", "0", "9f86d081-884c-4d63-9b0e-1d8f0c2a5e11", "é", "a b, c"]:
        yield sticky("header", ["iris", user], blue_green)
        yield sticky("header", ["rose", user], blue_green)
        yield sticky("cookie", ["iris", user], blue_green)
        yield sticky("caller", ["iris", "", user], blue_green)
        yield sticky("caller", ["iris", "garden", user], blue_green)
    yield sticky("header", ["iris", "ada", "eve"], blue_green)
    yield sticky("header", ["iris", "eve", "ada"], blue_green)
    yield sticky("caller", ["iris", "ada", ""], blue_green)
    # The lengths that XXH3 treats in its own way, up to those it strides through.
    for length in (1, 3, 4, 8, 9, 16, 17, 128, 129, 240, 241, 1024, 1025):
        yield sticky("header", ["iris", ("0123456789abcdef" * 65)[:length]], blue_green)
    # The same callers while the weight moves from one to the other.
    for number in range(8):
        for weight in (0, 500, 2500, 5000, 7500, 10000):
            shares = [("blue", 10000 - weight), ("green", weight)]
            yield sticky("header", ["iris", f"user-{number}"], shares)


def main():
    none = [case(7, [("blue", 0), ("green", 0)]), case(7, [("solo", 0)]), case(7, [])]
    out = sys.stdout
    out.write('{\n"cases": [\n')
    out.write(",\n".join(json.dumps(one) for one in cases()))
    out.write('\n],\n"none": [\n')
    out.write(",\n".join(json.dumps(one) for one in none))
    out.write('\n],\n"shares": [\n')
    out.write(",\n".join(json.dumps(one) for one in SHARES))
    out.write('\n],\n"sticky": [\n')
    out.write(",\n".join(json.dumps(one) for one in stickies()))
    out.write("\n]\n}\n")


if __name__ == "__main__":
    main()
