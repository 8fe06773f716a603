//! A process that ends at any moment and begins anew with what it had kept.

use std::sync::Arc;
use std::time::Duration;

use qcc_gateway::domain::memory::{Almanac, Image, Memory};
use qcc_gateway::domain::queues::Standing;
use qcc_gateway::domain::registry::{EndpointView, Outputs, RegistryCore, RegistryView};
use qcc_gateway::domain::topology::Topology;

use super::world::World;

/// When the process of the simulation began, and when the next one does.
const BEGAN: Almanac = Almanac { zero: Duration::from_secs(1_000_000) };
const BEGINS_AGAIN: Almanac = Almanac { zero: Duration::from_secs(900_000) };

impl World {
    /// Were the process to end now, the next one would isolate whoever is isolated, leave switched off whoever is, and give
    /// the same reasons; and it would keep the same of it as this one.
    pub(crate) fn check_restart(&self, before: &RegistryView) {
        let kept = serde_json::to_string(&self.core.image(&BEGAN, self.now)).unwrap_or_default();
        let image: Image = serde_json::from_str(&kept).unwrap_or_default();
        assert_eq!(image.endpoints.len(), before.endpoints.len(), "{kept}");
        // It begins at the same time of day.
        let now = BEGINS_AGAIN.moment_of(BEGAN.time_of(self.now));
        let mut next = RegistryCore::new(self.policy);
        next.remember(Memory::Kept(Box::new(image.clone())), &BEGINS_AGAIN, now);
        next.apply(Arc::new(Topology::new(self.settings.values().cloned())), now, &mut Outputs::new());
        let after = next.view(now);
        assert_eq!(before.endpoints.len(), after.endpoints.len());
        for (before, after) in before.endpoints.iter().zip(&after.endpoints) {
            assert_eq!(place(before), place(after), "of {}", before.endpoint.id);
            let rests = |view: &EndpointView| {
                view.cooldowns.iter().map(|rest| (rest.model.clone(), rest.exhausted)).collect::<Vec<_>>()
            };
            assert_eq!(rests(before), rests(after), "of {}", before.endpoint.id);
        }
        assert_eq!(next.image(&BEGINS_AGAIN, now), image, "what the next one keeps");
    }
}

/// Where an endpoint is, and what for.
fn place(view: &EndpointView) -> (Standing, Option<String>, bool) {
    let isolation = view.isolation.as_ref().map(|isolation| format!("{} {:?}", isolation.reason, isolation.model));
    (view.standing, isolation, view.slow_start)
}
