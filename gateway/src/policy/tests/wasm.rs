//! Tiny guests, written as core modules in text and wrapped into components.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Where a guest's own data begins; below lie the answers of the lifecycle.
const OK: &str = "(i32.const 16)";

/// A guest: what its functions do, in WebAssembly text.
pub(super) struct Guest<'a> {
    /// `auth-policy`, `split-policy`, `collect-policy`.
    pub(super) world: &'a str,
    /// The export that decides, with its parameters.
    pub(super) decide: &'a str,
    /// Its body; leaves the address of the answer. 1024 is `data`; `$n` is a local.
    pub(super) body: String,
    /// What lies at 1024.
    pub(super) data: Vec<u8>,
    /// The body of `configure`; leaves the address of the answer.
    pub(super) configure: String,
    /// The body of `self-test`.
    pub(super) self_test: String,
    /// More definitions of the module.
    pub(super) more: String,
    /// More imports of the world, as WIT; more packages first.
    pub(super) imports: (&'a str, &'a str),
    /// Pages of memory it starts with.
    pub(super) pages: u32,
}

pub(super) fn auth() -> Guest<'static> {
    Guest {
        world: "auth-policy",
        decide: r#"(export "tidegate:policy/auth@0.1.0#authenticate") (param i32) (result i32)"#,
        body: "(i32.const 1024)".to_owned(),
        // ok(pass)
        data: vec![0, 0, 0, 0, 1],
        configure: OK.to_owned(),
        self_test: OK.to_owned(),
        more: String::new(),
        imports: ("", ""),
        pages: 1,
    }
}

pub(super) fn split() -> Guest<'static> {
    Guest {
        world: "split-policy",
        decide: r#"(export "tidegate:policy/split@0.1.0#choose") (param i32) (result i32)"#,
        ..auth()
    }
}

pub(super) fn collect() -> Guest<'static> {
    Guest {
        world: "collect-policy",
        decide: r#"(export "tidegate:policy/collect@0.1.0#collect") (param i32 i32 i32 i32) (result i32)"#,
        // ok([])
        data: vec![0; 12],
        ..auth()
    }
}

impl Guest<'_> {
    /// The guest as a core module without a world.
    pub(super) fn module(&self) -> Vec<u8> {
        let data: String = self
            .data
            .iter()
            .map(|byte| format!("\\{byte:02x}"))
            .collect();
        let text = format!(
            r#"(module
              {more}
              (memory (export "memory") {pages})
              (global $heap (mut i32) (i32.const 32768))
              (data (i32.const 1024) "{data}")
              (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
                (global.set $heap (i32.add (local.get $at) (local.get 3)))
                (block $fits
                  (loop $more
                    (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
                    (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))
                    unreachable))
                (local.get $at))
              (func (export "tidegate:policy/lifecycle@0.1.0#configure") (param i32 i32) (result i32)
                {configure})
              (func (export "tidegate:policy/lifecycle@0.1.0#self-test") (result i32)
                {self_test})
              (func {decide}
                (local $n i32)
                (global.set $heap (i32.const 32768))
                {body}))"#,
            more = self.more,
            pages = self.pages,
            configure = self.configure,
            self_test = self.self_test,
            decide = self.decide,
            body = self.body,
        );
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// The guest as a component of its world.
    pub(super) fn component(&self) -> bytes::Bytes {
        let mut resolve = Resolve::default();
        let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit");
        resolve.push_dir(wit).unwrap();
        let (packages, imports) = self.imports;
        let world = format!(
            "package test:guest;\n{packages}\nworld guest {{ include tidegate:policy/{}@0.1.0; {imports} }}",
            self.world
        );
        let package = resolve.push_str("guest.wit", &world).unwrap();
        let world = resolve.select_world(&[package], Some("guest")).unwrap();
        let mut module = self.module();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default()
            .validate(true)
            .module(&module)
            .unwrap()
            .encode()
            .unwrap_or_else(|error| panic!("{error:#}"))
            .into()
    }
}

/// Bytes at 1024 that an answer itself may have; what it points to is behind.
const HEAD: usize = 256;

/// A guest's memory from 1024 on: an answer and what it points to.
#[derive(Default)]
pub(super) struct Data {
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Data {
    pub(super) fn u32(mut self, number: usize) -> Self {
        self.head
            .extend(u32::try_from(number).unwrap().to_le_bytes());
        self
    }

    /// A list or string: its address and length.
    pub(super) fn text(mut self, text: &[u8]) -> Self {
        let at = self.keep(text);
        self.u32(at).u32(text.len())
    }

    /// A list of pairs of strings.
    pub(super) fn pairs(mut self, pairs: &[(&[u8], &[u8])]) -> Self {
        let mut elements = Data::default();
        for (name, value) in pairs {
            let (name_at, value_at) = (self.keep(name), self.keep(value));
            elements = elements
                .u32(name_at)
                .u32(name.len())
                .u32(value_at)
                .u32(value.len());
        }
        let at = self.keep(&elements.head);
        self.u32(at).u32(pairs.len())
    }

    fn keep(&mut self, bytes: &[u8]) -> usize {
        self.tail.resize(self.tail.len().next_multiple_of(4), 0);
        let at = 1024 + HEAD + self.tail.len();
        self.tail.extend_from_slice(bytes);
        at
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        assert!(self.head.len() <= HEAD, "the answer is too long");
        self.head.resize(HEAD, 0);
        self.head.extend(self.tail);
        self.head
    }
}

/// `ok(allow(…))` with this subject, tenant "garden", and attributes.
pub(super) fn allow(subject: &[u8], cache_ms: usize, attributes: &[(&[u8], &[u8])]) -> Vec<u8> {
    let data = Data::default().u32(0).u32(0).text(subject).text(b"garden");
    data.u32(0).u32(0).pairs(attributes).u32(cache_ms).finish()
}

/// `ok(deny(…))` with this status and these headers.
pub(super) fn deny(status: usize, detail: &[u8], headers: &[(&[u8], &[u8])]) -> Vec<u8> {
    let data = Data::default()
        .u32(0)
        .u32(2)
        .u32(status)
        .text(b"over")
        .text(detail);
    data.u32(1).u32(1500).pairs(headers).finish()
}

/// `ok` of a choice with these tags; one mirror where it is not empty.
pub(super) fn choice(version: &[u8], mirror: &[u8], tags: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut data = Data::default().u32(0).text(version);
    if mirror.is_empty() {
        data = data.u32(0).u32(0);
    } else {
        let text = data.keep(mirror);
        let element = Data::default().u32(text).u32(mirror.len());
        data = {
            let at = data.keep(&element.head);
            data.u32(at).u32(1)
        };
    }
    data.pairs(tags).finish()
}

/// `ok` of one entry of `predictions`, of that exchange.
pub(super) fn entry(exchange: usize, content_type: &[u8]) -> Vec<u8> {
    let mut data = Data::default().u32(0);
    let (media, content) = (data.keep(content_type), data.keep(b"{}"));
    let element = Data::default().u32(1).u32(1).u32(exchange);
    let element = element
        .u32(media)
        .u32(content_type.len())
        .u32(content)
        .u32(2);
    let at = data.keep(&element.head);
    data.u32(at).u32(1).finish()
}

/// `err(misconfigured(…))` or `err(unavailable(…))`.
pub(super) fn plugin_error(case: usize, text: &[u8]) -> Vec<u8> {
    Data::default().u32(1).u32(case).text(text).finish()
}
