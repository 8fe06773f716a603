//! The search itself: breadth first, so that the first broken promise that is found has been reached by the shortest way.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::canon;
use super::scope::Scope;
use super::steps::Step;
use super::worker::Stage;
use super::world::{Broken, World};

/// A state: how it was first reached.
struct Node {
    parent: u32,
    step: Option<Step>,
    /// Nothing is held, parked, leased or on its way, and nobody is failed.
    is_goal: bool,
}

/// All states that can be reached, and the ways between them.
struct Graph {
    scope: Scope,
    nodes: Vec<Node>,
    /// From where to where, and whether it goes there of its own.
    edges: Vec<(u32, u32, bool)>,
}

/// How large the world was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) states: usize,
    pub(crate) transitions: usize,
    pub(crate) depth: usize,
}

/// Goes through every state of a world. Panics with the way to the nearest broken promise, where there is one.
pub(crate) fn search(scope: Scope) -> Size {
    let mut graph = Graph { scope, nodes: Vec::new(), edges: Vec::new() };
    let mut known: HashMap<u128, u32> = HashMap::new();
    let first = World::new(scope);
    known.insert(canon::name(&first), 0);
    graph.nodes.push(Node { parent: 0, step: None, is_goal: is_goal(&first) });
    let mut frontier = VecDeque::from([(0_u32, 0_usize, first)]);
    let mut depth = 0;
    while let Some((from, far, world)) = frontier.pop_front() {
        depth = far;
        for step in world.steps() {
            let goes_of_its_own = step.is_of_its_own() && !is_new_request(&world, step);
            let mut next = world.fork();
            if let Err(broken) = guarded(&mut next, step) {
                panic!("{}", graph.told(from, Some(step), &broken));
            }
            let count = u32::try_from(graph.nodes.len()).unwrap();
            let to = *known.entry(canon::name(&next)).or_insert(count);
            graph.edges.push((from, to, goes_of_its_own));
            if to == count {
                graph.nodes.push(Node { parent: from, step: Some(step), is_goal: is_goal(&next) });
                frontier.push_back((to, far + 1, next));
            }
        }
    }
    graph.check_endings();
    let size = Size { states: graph.nodes.len(), transitions: graph.edges.len(), depth };
    // Said also where the test passes.
    writeln!(std::io::stdout(), "{size:?}: {scope:?}").unwrap();
    size
}

/// Does a step; a core that finds itself in contradiction has broken a promise too.
fn guarded(world: &mut World, step: Step) -> Result<(), Broken> {
    match catch_unwind(AssertUnwindSafe(|| world.apply(step))) {
        Ok(result) => result,
        Err(panic) => {
            let words = panic.downcast_ref::<String>().cloned();
            Err(words.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
        }
    }
}

fn is_goal(world: &World) -> bool {
    world.is_at_rest() && world.is_recovered()
}

fn is_new_request(world: &World, step: Step) -> bool {
    match step {
        Step::Asks(worker) => matches!(world.workers[worker].stage, Stage::Idle),
        _ => false,
    }
}

impl Graph {
    /// From every state what is under way must be able to come to an end of its own: nothing held, nothing parked, nothing
    /// leased, and nobody failed whose verification passes.
    fn check_endings(&self) {
        let mut sources: Vec<Vec<u32>> = vec![Vec::new(); self.nodes.len()];
        for (from, to, of_its_own) in &self.edges {
            if *of_its_own {
                sources[*to as usize].push(*from);
            }
        }
        let mut ends: Vec<bool> = self.nodes.iter().map(|node| node.is_goal).collect();
        let mut open: Vec<usize> = (0..ends.len()).filter(|node| ends[*node]).collect();
        while let Some(node) = open.pop() {
            for source in &sources[node] {
                if !std::mem::replace(&mut ends[*source as usize], true) {
                    open.push(*source as usize);
                }
            }
        }
        if let Some(stuck) = ends.iter().position(|ends| !ends) {
            let broken = "from here nothing leads of its own to where nobody waits and nobody has failed".to_owned();
            panic!("{}", self.told(u32::try_from(stuck).unwrap(), None, &broken));
        }
    }

    /// The way to a broken promise, told step by step.
    fn told(&self, node: u32, last: Option<Step>, broken: &Broken) -> String {
        let mut way: Vec<Step> = last.into_iter().collect();
        let mut node = &self.nodes[node as usize];
        while let Some(step) = node.step {
            way.push(step);
            node = &self.nodes[node.parent as usize];
        }
        way.reverse();
        let mut world = World::new(self.scope);
        let mut lines = vec![format!("{broken}, after {} steps, in {:?}:", way.len(), self.scope)];
        for (number, step) in (1..).zip(way) {
            world.story = Some(Vec::new());
            let result = guarded(&mut world, step);
            let story = world.story.take().unwrap_or_default().join("; ");
            let standing = |seen: &qcc_gateway::domain::registry::EndpointView| {
                format!("{} {}{}", seen.endpoint.id, seen.standing.as_str(), if seen.held { " (held)" } else { "" })
            };
            let standings: Vec<String> = world.core.view(world.now).endpoints.iter().map(standing).collect();
            lines.push(format!("{number:>3}. {step}: {story} [{}]", standings.join(", ")));
            if let Err(broken) = result {
                lines.push(format!("     {broken}"));
            }
        }
        lines.join("\n")
    }
}
