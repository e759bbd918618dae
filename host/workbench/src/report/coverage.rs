//! What the scenarios of a file never reached: targets, attempts, ends.

use std::fmt::Write as _;

use super::FileResult;
use crate::run::Reached;
use crate::session::End;

/// What was never reached in each file, and where everything was, that.
pub fn coverage(files: &[FileResult]) -> String {
    let mut text = "\ncoverage\n".to_owned();
    for file in files {
        let Ok((loaded, result)) = &file.outcome else { continue };
        let mut reached = Reached::default();
        for step in result.scenarios.iter().flat_map(|scenario| &scenario.steps) {
            reached.add(&step.happened);
        }
        result.properties.iter().for_each(|property| reached.merge(&property.reached));
        let mut never = Vec::new();
        for sim in &loaded.suite.world.targets {
            let id = &sim.target.id;
            if !reached.asked.contains(id) {
                never.push(format!("target `{id}` is never asked for"));
            } else if !reached.answered.contains(id) {
                never.push(format!("target `{id}` never answers"));
            }
        }
        let (planned, made) = reached.attempts;
        if made < planned {
            never.push(match planned - made {
                1 => format!("attempt {planned} of the longest plan is never made"),
                _ => format!("attempts {} to {planned} of the longest plan are never made", made + 1),
            });
        }
        for end in [End::Answered, End::Refused, End::Failed] {
            if !reached.ends.contains(&end.name()) {
                never.push(format!("no request is {}", end.name()));
            }
        }
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {}", file.path);
        if never.is_empty() {
            text.push_str("    every target, attempt and outcome is reached\n");
        }
        for what in never {
            let _ = writeln!(text, "    {what}");
        }
    }
    text
}
