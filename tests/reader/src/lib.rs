//! The plainest policy that looks at a prompt: reads its first 16 KiB, and puts a cloud first when it is not plain
//! English letters, which small models do best. What one decision costs is measured with it
//! (`host/sandbox/benches/decision.rs`): whatever a policy does beyond this is the policy's own.

use lockgate_plugin::{Catalog, Locality, Plan, Refusal, Request, Router, Settings};

struct Reader;

impl Router for Reader {
    fn route(request: &impl Request, catalog: &impl Catalog, _: &impl Settings) -> Result<Plan, Refusal> {
        let is_plain = request.text(16 << 10).is_ascii();
        let (ids, localities, permitted) = (catalog.ids(), catalog.localities(), catalog.permitted());
        let targets = ids.iter().zip(localities).zip(permitted);
        let mut targets: Vec<_> =
            targets.filter(|(_, permitted)| *permitted).map(|(target, _)| target).collect();
        targets.sort_by_key(|(_, locality)| (*locality == Locality::Local) != is_plain);
        let reason = if is_plain { "plain text" } else { "letters beyond ASCII" };
        Ok(targets.iter().fold(Plan::because(reason), |plan, (id, _)| plan.then(id.as_str())))
    }
}

lockgate_plugin::export_router!(Reader);
