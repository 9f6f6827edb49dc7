use crate::resource::load::{Source, check as check_sources};

fn shown(text: &str) -> String {
    let source = Source {
        name: "f.yaml".to_owned(),
        text: text.to_owned(),
        base: Some("/base".into()),
    };
    match check_sources(&[source]) {
        Ok(set) => format!("fine: {} endpoints", set.endpoints.len()),
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            lines.join("\n")
        }
    }
}

#[test]
fn every_settled_key_stands_at_its_place() {
    assert_eq!(shown(include_str!("tests/all.yaml")), "fine: 1 endpoints");
}
