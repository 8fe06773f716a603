//! The pure cores, joined by queues in memory and driven by one seeded source of chance, held against models as plain as
//! the promises; and properties of single cores against obvious references.
//!
//! A failing simulation prints its seed and step. `QCC_SIM_SEED` replays one seed alone, `QCC_SIM_STEPS` up to that step;
//! `QCC_SIM_SECONDS` is how long further seeds are tried, and `QCC_SIM_SEEDS` runs so many, however long they take.

#[cfg(test)]
mod breakers;
#[cfg(test)]
mod chance;
#[cfg(test)]
mod counts;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod effects;
#[cfg(test)]
#[path = "../support/endpoint.rs"]
mod endpoint;
#[cfg(test)]
mod ends;
#[cfg(test)]
mod itinerary;
#[cfg(test)]
mod journeys;
#[cfg(test)]
mod operators;
#[cfg(test)]
mod policies;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod shadow;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod trace;
#[cfg(test)]
mod verifier;
#[cfg(test)]
mod world;
