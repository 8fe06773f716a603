//! The pure cores, joined by queues in memory and driven by one seeded source of chance, held against models as plain as
//! the promises; and properties of single cores against obvious references.
//!
//! A failing simulation prints its seed. `QCC_SIM_SEED` replays it alone, `QCC_SIM_STEPS` cuts it short or prolongs it,
//! `QCC_SIM_SEEDS` runs more or fewer seeds than the default.

#[cfg(test)]
mod chance;
#[cfg(test)]
mod counts;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod effects;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod requests;
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
