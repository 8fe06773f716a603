//! The choice of `selection` among many candidates without looking at each: what it depends on is kept in a binary tree over all
//! places, so that changing a place and choosing each take logarithmic time.

use super::selection::Candidate;

/// What the choice has to know about a set of candidates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    /// The least `in flight ÷ weight`.
    load: f64,
    /// The earliest turn of those with the least load.
    turn: f64,
    /// The latest turn of all.
    latest_turn: f64,
    /// The longest turn of all.
    longest_turn: f64,
}

impl Field {
    /// The field of no candidate.
    pub const EMPTY: Self = Self { load: f64::INFINITY, turn: f64::INFINITY, latest_turn: 0.0, longest_turn: 0.0 };

    /// The field of a single candidate.
    pub fn of<K>(candidate: &Candidate<K>) -> Self {
        let Candidate { in_flight, weight, turn, .. } = *candidate;
        let load = f64::from(in_flight) / weight;
        Self { load, turn, latest_turn: greater(turn, 0.0), longest_turn: weight.recip() }
    }

    /// The field of both sets together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        let (load, turn) = if self.load < other.load {
            (self.load, self.turn)
        } else if other.load < self.load {
            (other.load, other.turn)
        } else {
            (self.load, lesser(self.turn, other.turn))
        };
        Self {
            load,
            turn,
            latest_turn: greater(self.latest_turn, other.latest_turn),
            longest_turn: greater(self.longest_turn, other.longest_turn),
        }
    }

    /// The load and due time of the best candidate; `None` if there is none.
    pub fn best(&self) -> Option<Best> {
        // A lag of more than the longest turn counts as one of the longest turn.
        let due = greater(self.turn, self.latest_turn - self.longest_turn);
        self.load.is_finite().then_some(Best { load: self.load, due })
    }

    /// Whether one of the candidates may be as good as `best`.
    fn reaches(&self, best: Best) -> bool {
        self.load < best.load || (self.load <= best.load && self.turn <= best.due)
    }
}

/// The lesser number. No number here is ever NaN, so a comparison is enough.
fn lesser(a: f64, b: f64) -> f64 {
    if b < a { b } else { a }
}

fn greater(a: f64, b: f64) -> f64 {
    if b > a { b } else { a }
}

/// The load of the best candidate, and when it is due. Of all with this load whose turn is no later, the first in order serves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    load: f64,
    due: f64,
}

impl Best {
    /// Whether this candidate is as good as the best.
    pub fn is_reached_by<K>(self, candidate: &Candidate<K>) -> bool {
        Field::of(candidate).reaches(self)
    }

    /// When the candidate that serves is due again.
    pub fn next_turn(self, weight: f64) -> f64 {
        self.due + weight.recip()
    }
}

/// Candidates at places of their own.
#[derive(Clone, Debug, Default)]
pub struct Tournament {
    /// The field of each node: the root is node 1, the children of node n are 2n and 2n + 1, and the places are the second half.
    fields: Vec<Field>,
}

/// A node of the tree, with the places beneath it.
#[derive(Clone, Copy)]
struct Node {
    number: usize,
    first: usize,
    places: usize,
}

impl Node {
    fn holds_any_of(self, places: &[usize]) -> bool {
        places.iter().any(|place| (self.first..self.first + self.places).contains(place))
    }

    fn halves(self) -> [Self; 2] {
        let places = self.places / 2;
        [(0, self.first), (1, self.first + places)].map(|(next, first)| Self {
            number: 2 * self.number + next,
            first,
            places,
        })
    }
}

impl Tournament {
    /// A tournament with this many places, all empty.
    pub fn new(places: usize) -> Self {
        Self { fields: vec![Field::EMPTY; 2 * places.next_power_of_two()] }
    }

    fn root(&self) -> Node {
        Node { number: 1, first: 0, places: self.fields.len() / 2 }
    }

    fn field(&self, number: usize) -> Field {
        self.fields.get(number).copied().unwrap_or(Field::EMPTY)
    }

    /// Sets the field of a place; [`Field::EMPTY`] empties it.
    pub fn set(&mut self, place: usize, field: Field) {
        let mut number = self.fields.len() / 2 + place;
        let mut field = field;
        while let Some(kept) = self.fields.get_mut(number).filter(|kept| **kept != field) {
            *kept = field;
            number /= 2;
            if number == 0 {
                break;
            }
            field = self.field(2 * number).with(self.field(2 * number + 1));
        }
    }

    /// The field of all candidates except those at the places `without`.
    pub fn all_but(&self, without: &[usize]) -> Field {
        if without.is_empty() {
            return self.field(1);
        }
        self.beneath(self.root(), without)
    }

    fn beneath(&self, node: Node, without: &[usize]) -> Field {
        if !node.holds_any_of(without) {
            return self.field(node.number);
        }
        if node.places <= 1 {
            return Field::EMPTY;
        }
        let [left, right] = node.halves();
        self.beneath(left, without).with(self.beneath(right, without))
    }

    /// The first place that is as good as `best`, except the places `without`.
    pub fn first(&self, best: Best, without: &[usize]) -> Option<usize> {
        let mut node = self.root();
        if !self.field(node.number).reaches(best) {
            return None;
        }
        while without.is_empty() && node.places > 1 {
            // One of the halves reaches it.
            let [left, right] = node.halves();
            node = if self.field(left.number).reaches(best) { left } else { right };
        }
        self.first_beneath(node, best, without)
    }

    fn first_beneath(&self, node: Node, best: Best, without: &[usize]) -> Option<usize> {
        if !self.field(node.number).reaches(best) {
            return None;
        }
        if node.places <= 1 {
            return (!without.contains(&node.first)).then_some(node.first);
        }
        let [left, right] = node.halves();
        self.first_beneath(left, best, without).or_else(|| self.first_beneath(right, best, without))
    }

    /// The field of a place.
    pub fn at(&self, place: usize) -> Field {
        self.field(self.fields.len() / 2 + place)
    }

    /// Whether the field of each node follows from those of its children.
    pub fn is_consistent(&self) -> bool {
        let whole = 1..self.fields.len() / 2;
        whole.into_iter().all(|number| self.field(number) == self.field(2 * number).with(self.field(2 * number + 1)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::selection::{Choice, choose};
    use super::*;

    /// A step of the test: a place, the candidate that is put there, if any, and the places left out of the next choice.
    type Step = (usize, Option<(u32, u16)>, Vec<usize>);

    fn step() -> impl Strategy<Value = Step> {
        let candidate = prop::option::weighted(0.8, (0_u32..4, prop::sample::select(vec![1_u16, 10, 50, 100, 1000])));
        (0_usize..40, candidate, prop::collection::vec(0_usize..40, 0..4))
    }

    proptest! {
        /// Compares with the plain reference, which looks at every candidate: same choice, same next turn, to the bit.
        #[test]
        fn chooses_whom_a_look_at_each_would_choose(places in 1_usize..40, steps in prop::collection::vec(step(), 1..120)) {
            let mut candidates: Vec<Option<Candidate<usize>>> = vec![None; places];
            let mut turns = vec![0.0; places];
            let mut tournament = Tournament::new(places);
            for (place, comes, without) in steps {
                let key = place % places;
                let candidate = comes.map(|(in_flight, weight)| {
                    Candidate { key, in_flight, weight: f64::from(weight), turn: turns[key] }
                });
                candidates[key] = candidate;
                tournament.set(key, candidate.as_ref().map_or(Field::EMPTY, Field::of));
                let allowed: Vec<_> = candidates.iter().flatten().filter(|one| !without.contains(&one.key)).copied().collect();
                let chosen = tournament.all_but(&without).best().and_then(|best| {
                    let key = tournament.first(best, &without)?;
                    Some(Choice { key, next_turn: best.next_turn(candidates[key]?.weight) })
                });
                prop_assert_eq!(chosen, choose(&allowed));
                prop_assert!(tournament.is_consistent());
                if let Some(Choice { key, next_turn }) = chosen {
                    turns[key] = next_turn;
                    let candidate = candidates[key].as_mut().unwrap();
                    (candidate.turn, candidate.in_flight) = (next_turn, candidate.in_flight % 4 + 1);
                    tournament.set(key, Field::of(candidate));
                }
            }
        }
    }

    #[test]
    fn nobody_is_chosen_where_nobody_is_or_all_are_left_out() {
        let mut tournament = Tournament::new(3);
        assert_eq!(tournament.all_but(&[]).best(), None);
        let field = Field::of(&Candidate { key: (), in_flight: 0, weight: 1.0, turn: 0.0 });
        tournament.set(1, field);
        assert_eq!((tournament.at(1), tournament.at(0), tournament.all_but(&[1])), (field, Field::EMPTY, Field::EMPTY));
        assert_eq!(tournament.first(field.best().unwrap(), &[1]), None);
        assert_eq!(tournament.first(field.best().unwrap(), &[]), Some(1));
    }
}
