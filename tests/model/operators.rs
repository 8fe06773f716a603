//! What operators do: isolate, switch, change the settings.

use qcc_gateway::domain::ids::EndpointId;
use qcc_gateway::domain::registry::Outputs;

use super::chance::{self, one_in};
use super::effects::Followed;
use super::world::{ADMIN, World};

impl World {
    pub(crate) fn admin_isolates(&mut self) {
        let id = chance::any_id(&mut self.rng);
        self.trace.note(&format!("an admin isolates {id}"));
        let expected = self.shadow.isolate_by_admin(&id, self.now);
        let mut effects = Outputs::new();
        assert_eq!(self.core.isolate_by_admin(&id, ADMIN, self.now, &mut effects), expected);
        let isolated = if expected == Ok(true) { vec![id] } else { Vec::new() };
        self.trace.met(if isolated.is_empty() { "nothing to isolate" } else { "an admin's isolation" });
        let looks = isolated.len();
        assert_eq!(self.carry_out(effects, looks), Followed { isolated, ..Followed::default() });
    }

    pub(crate) fn admin_switches(&mut self, id: &EndpointId, on: bool) {
        self.trace.note(&format!("an admin switches {id} on: {on}"));
        let expected = self.shadow.set_enabled(id, on);
        if on && expected == Ok(true) && self.shadow.isolated().contains(id) {
            self.trace.met("one that was isolated when it was switched off");
        }
        let mut effects = Outputs::new();
        assert_eq!(self.core.set_enabled(id, on, ADMIN, self.now, &mut effects), expected);
        let looks = usize::from(expected == Ok(true));
        assert_eq!(self.carry_out(effects, looks), Followed::default());
    }

    pub(crate) fn settings_change(&mut self) {
        if one_in(&mut self.rng, 4) {
            self.policies_change();
        }
        for _ in 0..self.rng.u32(1..3) {
            let id = chance::any_id(&mut self.rng);
            match self.settings.get_mut(&id) {
                Some(_) if one_in(&mut self.rng, 3) => drop(self.settings.remove(&id)),
                Some(endpoint) => chance::redefine(&mut self.rng, endpoint),
                None => {
                    let endpoint = chance::endpoint(&mut self.rng, id.clone());
                    self.settings.insert(id, endpoint);
                }
            }
        }
        let shown: Vec<String> = self.settings.values().map(chance::describe).collect();
        self.trace.note(&format!("the settings are now {}", shown.join("; ")));
        self.apply();
    }
}
