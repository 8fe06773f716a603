//! Every order of events in a small world: the real cores, two endpoints, two workers, and requests of two attempts at most.
//!
//! A state is all of the cores and whatever is on its way between them; a step is one message that arrives, or one thing that
//! somebody does. The search goes through all states that can be reached, breadth first, holds every step against the
//! promises, and in the end asks of every state whether what is under way comes to an end of its own. Where a promise is
//! broken it tells the shortest way there. `QCC_SEARCH=large` makes the worlds larger; `--nocapture` shows how large they were.

#[cfg(test)]
mod apply;
#[cfg(test)]
mod canon;
#[cfg(test)]
#[path = "../support/endpoint.rs"]
mod endpoint;
#[cfg(test)]
mod follow;
#[cfg(test)]
mod graph;
#[cfg(test)]
mod promises;
#[cfg(test)]
mod ranks;
#[cfg(test)]
mod scope;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod verifier;
#[cfg(test)]
mod words;
#[cfg(test)]
mod worker;
#[cfg(test)]
mod world;
#[cfg(test)]
mod worlds;
