//! For continuous integration: JUnit's XML, with virtual seconds as times.

use std::fmt::Write as _;

use super::{Counts, FileResult, NEVER_STATED};
use crate::scenario::Miss;

/// Everything that came of these files.
pub fn junit(files: &[FileResult]) -> String {
    let counts = Counts::of(files);
    let failures = counts.scenarios.1 - counts.scenarios.0 + counts.properties.1 - counts.properties.0;
    let tests = counts.scenarios.1 + counts.properties.1 + counts.unusable;
    let mut xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        xml,
        "<testsuites name=\"lockgate policy test\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{}\">",
        counts.unusable
    );
    for file in files {
        suite(&mut xml, file);
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn suite(xml: &mut String, file: &FileResult) {
    let path = escape(&file.path);
    let (loaded, result) = match &file.outcome {
        Ok(outcome) => outcome,
        Err(problems) => {
            let _ = writeln!(
                xml,
                "  <testsuite name=\"{path}\" tests=\"1\" failures=\"0\" errors=\"1\" time=\"0.000\">\n    \
                 <testcase name=\"the file can be run\" classname=\"{path}\" time=\"0.000\">\n      \
                 <error message=\"unusable\">{}</error>\n    </testcase>\n  </testsuite>",
                escape(problems)
            );
            return;
        }
    };
    let mut cases = String::new();
    let (mut failures, mut total_ms) = (0, 0);
    for (scenario, stated) in result.scenarios.iter().zip(&loaded.suite.scenarios) {
        let time: u64 = scenario.steps.iter().map(|step| step.happened.virtual_ms).sum();
        total_ms += time;
        let misses: Vec<&Miss> = scenario.steps.iter().flat_map(|step| &step.misses).collect();
        failures += usize::from(!misses.is_empty());
        case(&mut cases, &path, &stated.name, time, &misses, None);
    }
    for (property, stated) in result.properties.iter().zip(&loaded.suite.properties) {
        failures += usize::from(!property.holds());
        let never = Miss {
            field: "when",
            expected: "a request that meets it".to_owned(),
            happened: NEVER_STATED.to_owned(),
        };
        let (misses, scenario): (Vec<&Miss>, _) = match &property.failure {
            Some(found) => (found.misses.iter().collect(), Some(found.scenario.as_str())),
            None if property.applied == 0 => (vec![&never], None),
            None => (Vec::new(), None),
        };
        case(&mut cases, &path, &stated.name, 0, &misses, scenario);
    }
    let tests = result.scenarios.len() + result.properties.len();
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{path}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" time=\"{}\">\n{cases}  \
         </testsuite>",
        seconds(total_ms)
    );
}

fn case(xml: &mut String, class: &str, name: &str, ms: u64, misses: &[&Miss], more: Option<&str>) {
    let open =
        format!("    <testcase name=\"{}\" classname=\"{class}\" time=\"{}\"", escape(name), seconds(ms));
    if misses.is_empty() {
        let _ = writeln!(xml, "{open}/>");
        return;
    }
    let fields: Vec<&str> = misses.iter().map(|miss| miss.field).collect();
    let _ = writeln!(xml, "{open}>\n      <failure message=\"{}\">", escape(&fields.join(", ")));
    for Miss { field, expected, happened } in misses {
        let _ = writeln!(xml, "expected {field} = {}\nhappened {}", escape(expected), escape(happened));
    }
    if let Some(more) = more {
        let _ = writeln!(xml, "\n{}", escape(more));
    }
    xml.push_str("</failure>\n    </testcase>\n");
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// Text as XML takes it. What XML has no form for is shown as the replacement character.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(character),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            plain => escaped.push(plain),
        }
    }
    escaped
}
