use std::fmt::Display;

use proptest::prelude::*;

use super::*;

#[track_caller]
fn check<T: Display>(read: Result<T, UnitError>, expected: &str) {
    let shown = match read {
        Ok(value) => value.to_string(),
        Err(error) => error.to_string(),
    };
    assert_eq!(shown, expected);
}

#[test]
fn durations_are_read_exactly_or_refused() {
    check(Interval::parse("500ms"), "500ms");
    check(Interval::parse("60s"), "1m");
    check(Interval::parse("90s"), "90s");
    check(Interval::parse("5m"), "5m");
    check(Interval::parse("12h"), "12h");
    check(Interval::parse("180d"), "180d");
    check(Interval::parse("0s"), "0s");
    check(Interval::parse("0ms"), "0s");
    check(Interval::parse("5"), "\"5\" has no unit; write 5s or 5ms");
    for wrong in [
        "", "s", "-0s", "-5s", "+5s", "1.5s", "1h30m", "5 s", "5S", "5y", "inf", "٣s",
    ] {
        check(
            Interval::parse(wrong),
            &format!(
                "{wrong:?} is not a duration: a whole number and ms, s, m, h or d, as in 500ms"
            ),
        );
    }
    check(
        Interval::parse("36501d"),
        "\"36501d\" is too much; at most 36500d",
    );
    check(
        Interval::parse("99999999999999999999ms"),
        "\"99999999999999999999ms\" is too much; at most 36500d",
    );
}

#[test]
fn sizes_are_read_exactly_or_refused() {
    check(Size::parse("512"), "512");
    check(Size::parse("64Ki"), "64Ki");
    check(Size::parse("1024Ki"), "1Mi");
    check(Size::parse("100Mi"), "100Mi");
    check(Size::parse("2Gi"), "2Gi");
    check(Size::parse("0"), "0");
    for wrong in ["", "Ki", "-1", "1.5Mi", "64k", "64KB", "64 Ki", "1e3"] {
        check(
            Size::parse(wrong),
            &format!(
                "{wrong:?} is not a size: a whole number of bytes, or one with Ki, Mi, Gi or Ti, as in 64Ki"
            ),
        );
    }
    check(
        Size::parse("16777216Ti"),
        "\"16777216Ti\" is too much; at most 16777215Ti",
    );
}

#[test]
fn percentages_have_two_decimals_at_most() {
    check(Percent::parse("0"), "0");
    check(Percent::parse("100"), "100");
    check(Percent::parse("33.3"), "33.3");
    check(Percent::parse("33.33"), "33.33");
    check(Percent::parse("0.05"), "0.05");
    check(Percent::parse("80.00"), "80");
    check(
        Percent::parse("33.333"),
        "\"33.333\" is more exact than 0.01 percent",
    );
    for wrong in ["", "101", "100.01", "-1", "1.", ".5", "5%", "NaN", "1e1"] {
        check(
            Percent::parse(wrong),
            &format!("{wrong:?} is not a percentage: 0 to 100, with at most two decimals"),
        );
    }
}

#[test]
fn quantities_are_those_of_kubernetes() {
    check(Cpu::parse("100m"), "100m");
    check(Cpu::parse("0.5"), "500m");
    check(Cpu::parse("1"), "1");
    check(Cpu::parse("1500m"), "1500m");
    check(Cpu::parse("2000m"), "2");
    check(Cpu::parse("1k"), "1000");
    check(
        Cpu::parse("0.0005"),
        "\"0.0005\" is more exact than a thousandth of a core (1m)",
    );
    check(
        Cpu::parse("100u"),
        "\"100u\" is more exact than a thousandth of a core (1m)",
    );
    check(Memory::parse("500M"), "500M");
    check(Memory::parse("1Gi"), "1Gi");
    check(Memory::parse("1.5Gi"), "1536Mi");
    check(Memory::parse("128974848"), "123Mi");
    check(Memory::parse("1k"), "1k");
    check(
        Memory::parse("500m"),
        "\"500m\" is more exact than a byte (for millions of bytes write M)",
    );
    check(Memory::parse("16Ei"), "\"16Ei\" is too much; at most 8Ei");
    for wrong in ["", "m", "-1", "1,5", "1 Gi", "1gi", "1e3", ".5"] {
        check(
            Memory::parse(wrong),
            &format!("{wrong:?} is not a quantity, as in 100m, 0.5, 2, 500M or 1Gi"),
        );
    }
}

proptest! {
    #[test]
    fn what_is_shown_is_read_back_as_the_same(n in any::<u64>(), ms in 0..=DURATION_MAX_MS, h in 0..=10_000_u32) {
        prop_assert_eq!(Size::parse(&Size(n).to_string()), Ok(Size(n)));
        prop_assert_eq!(Interval::parse(&Interval { ms }.to_string()), Ok(Interval { ms }));
        prop_assert_eq!(Percent::parse(&Percent(h).to_string()), Ok(Percent(h)));
        let memory = Memory(n >> 1);
        prop_assert_eq!(Memory::parse(&memory.to_string()), Ok(memory));
        let cpu = Cpu { millis: n >> 12 };
        prop_assert_eq!(Cpu::parse(&cpu.to_string()), Ok(cpu));
    }

    #[test]
    fn no_text_panics(text in ".{0,40}") {
        let _ = Interval::parse(&text);
        let _ = Size::parse(&text);
        let _ = Percent::parse(&text);
        let _ = Cpu::parse(&text);
        let _ = Memory::parse(&text);
    }
}
