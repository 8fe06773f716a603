//! Reading the merged settings table by table: every key that is asked for is known, and any key left over is a fault.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use config::{Map, Value, ValueKind};
use globset::{Glob, GlobSetBuilder};

use super::credential::Displaced;
use super::fault::{Fault, key_part, quoted};
use super::given::Given;
use super::layers::Layers;
use super::seen::FilesSeen;

/// The longest glob, in bytes.
const LONGEST_GLOB: usize = 1000;

/// The longest duration that makes sense anywhere; it keeps all later arithmetic far from its limits.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// What is known of the settings while they are read.
pub(super) struct Reading<'a> {
    pub(super) layers: &'a Layers,
    pub(super) variables: &'a BTreeMap<String, String>,
    pub(super) faults: Vec<Fault>,
    /// Each key that was read, with its value in one form, however it was written. Never a secret's value.
    pub(super) recorded: BTreeMap<String, String>,
    /// The variables that `*_env` keys named and that were set.
    pub(super) variables_taken: BTreeSet<String>,
    /// Forms of secrets that were displaced by another form, which gives no secret.
    pub(super) displaced: Vec<Displaced>,
    /// The files that hold secrets.
    pub(super) seen: FilesSeen,
    places: BTreeMap<String, String>,
}

/// Whether a faulty value may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Always,
    Never,
}

impl<'a> Reading<'a> {
    pub(super) fn new(layers: &'a Layers, variables: &'a BTreeMap<String, String>) -> Self {
        Self {
            layers,
            variables,
            faults: Vec::new(),
            recorded: BTreeMap::new(),
            variables_taken: BTreeSet::new(),
            displaced: Vec::new(),
            seen: FilesSeen::default(),
            places: BTreeMap::new(),
        }
    }

    /// Where the key at `path` is given or, if it was left out, the table that lacks it. Empty for the settings as a
    /// whole.
    pub(super) fn place_of(&self, path: &str) -> String {
        let with_those_above = std::iter::successors(Some(path), |path| path.rsplit_once('.').map(|(above, _)| above));
        let mut places = with_those_above.filter_map(|path| self.places.get(path));
        places.find(|place| !place.is_empty()).cloned().unwrap_or_default()
    }

    /// Notes a fault of the key at `path`, or of the settings as a whole if neither it nor its table was read.
    pub(super) fn fault(&mut self, path: &str, found: impl Into<String>, wanted: impl Into<String>) {
        let source = self.place_of(path);
        self.faults.push(Fault { key: path.to_owned(), source, found: found.into(), wanted: wanted.into() });
    }

    /// Notes a fault of the key at `path`, which is given at `place`.
    pub(super) fn fault_at(&mut self, place: String, path: &str, found: impl Into<String>, wanted: impl Into<String>) {
        self.places.insert(path.to_owned(), place);
        self.fault(path, found, wanted);
    }

    /// Opens a table that has every key, because the built-in defaults have it.
    pub(super) fn section(&mut self, tree: &mut Map<String, Value>, name: &str) -> Table<'_, 'a> {
        let value = tree.remove(name).unwrap_or_else(|| Value::new(None, Map::<String, Value>::new()));
        Table::open(self, vec![name.to_owned()], value, true)
    }

    /// Opens a table that has only the keys that somebody wrote.
    pub(super) fn entry(&mut self, path: &[&str], value: Value) -> Table<'_, 'a> {
        let parts: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        Table::open(self, parts, value, false)
    }

    /// Whether an entry of a table of tables is a table; if not, that is its only fault.
    fn is_table(&mut self, name: &str, id: &str, value: &Value) -> bool {
        let is_table = matches!(value.kind, ValueKind::Table(_));
        if !is_table {
            let path = format!("{name}.{}", key_part(id));
            let wanted = format!("a table: [{path}]");
            self.fault_at(self.layers.place_of_value(value), &path, Given::Typed(&value.kind).kind(), wanted);
        }
        is_table
    }

    /// Takes out a table of named tables, in the order of their names.
    pub(super) fn entries(&mut self, tree: &mut Map<String, Value>, name: &str) -> BTreeMap<String, Value> {
        let entries = match tree.remove(name).map(|value| value.kind) {
            Some(ValueKind::Table(entries)) => entries,
            // The layers hold no other kind.
            Some(_) | None => Map::new(),
        };
        let entries: BTreeMap<String, Value> = entries.into_iter().collect();
        entries.into_iter().filter(|(id, value)| self.is_table(name, id, value)).collect()
    }
}

/// One table that is being read.
pub(super) struct Table<'r, 'a> {
    pub(super) reading: &'r mut Reading<'a>,
    path: String,
    parts: Vec<String>,
    entries: Map<String, Value>,
    known: Vec<&'static str>,
    complete: bool,
}

impl<'r, 'a> Table<'r, 'a> {
    fn open(reading: &'r mut Reading<'a>, parts: Vec<String>, value: Value, complete: bool) -> Self {
        let path = parts.iter().map(|part| key_part(part)).collect::<Vec<_>>().join(".");
        let place = match reading.layers.place_of_table(&parts) {
            place if place.is_empty() => reading.layers.place_of_value(&value),
            place => place,
        };
        reading.places.insert(path.clone(), place);
        match value.kind {
            ValueKind::Table(entries) => Self { reading, path, parts, entries, known: Vec::new(), complete },
            kind => {
                reading.fault(&path, Given::Typed(&kind).kind(), format!("a table: [{path}]"));
                Self { reading, path, parts, entries: Map::new(), known: Vec::new(), complete: false }
            }
        }
    }

    /// The path of one of the table's keys.
    pub(super) fn key(&self, key: &str) -> String {
        format!("{}.{}", self.path, key_part(key))
    }

    /// The table's own path.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Notes a fault of one of the table's keys.
    pub(super) fn fault(&mut self, key: &str, found: impl Into<String>, wanted: impl Into<String>) {
        let path = self.key(key);
        self.reading.fault(&path, found, wanted);
    }

    /// Remembers where one of the table's keys is given.
    fn locate(&mut self, key: &str, value: &Value) {
        let place = match self.reading.layers.place_of_value(value) {
            // A merged table that is empty: nothing in it tells its place.
            place if place.is_empty() => {
                let path: Vec<String> = self.parts.iter().cloned().chain([key.to_owned()]).collect();
                self.reading.layers.place_of_table(&path)
            }
            place => place,
        };
        let path = self.key(key);
        self.reading.places.insert(path, place);
    }

    /// Notes the fault that a key is missing, unless an unreadable file may hold it.
    pub(super) fn fault_of_absence(&mut self, key: &str, found: &str, wanted: impl Into<String>) {
        if !self.reading.layers.have_gaps {
            self.fault(key, found, wanted);
        }
    }

    /// Takes a key out, and remembers that it is known and where it is given.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        let value = self.entries.remove(key)?;
        self.locate(key, &value);
        Some(value)
    }

    /// Records a key's value in one form, for comparison with other settings.
    pub(super) fn record(&mut self, key: &str, value: impl Into<String>) {
        let path = self.key(key);
        self.reading.recorded.insert(path, value.into());
    }

    /// Reads one key with `parse`; if that gives nothing, the value is a fault.
    pub(super) fn read<T: Debug>(
        &mut self,
        key: &'static str,
        shown: Shown,
        wanted: &str,
        parse: impl FnOnce(&Given<'_>) -> Option<T>,
    ) -> Option<T> {
        let Some(value) = self.take(key) else {
            if self.complete {
                self.fault(key, "nothing", wanted);
            }
            return None;
        };
        let given = Given::new(&value);
        let parsed = parse(&given);
        match &parsed {
            Some(parsed) if shown == Shown::Always => self.record(key, format!("{parsed:?}")),
            Some(_) => {}
            None => {
                let found = if shown == Shown::Always { given.shown() } else { given.kind().to_owned() };
                self.fault(key, found, wanted);
            }
        }
        parsed
    }

    /// Replaces a missing value by its default. One that is spelled out as the default counts as left out.
    pub(super) fn or<T: PartialEq>(&mut self, key: &str, value: Option<T>, default: T) -> T {
        match value {
            Some(value) if value != default => value,
            Some(_) | None => {
                let path = self.key(key);
                self.reading.recorded.remove(&path);
                default
            }
        }
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        self.read(key, Shown::Always, "a text", |given| given.text().map(ToOwned::to_owned))
    }

    /// Reads a text; an empty one stands for none.
    pub(super) fn optional_text(&mut self, key: &'static str) -> Option<String> {
        self.text(key).filter(|text| !text.is_empty())
    }

    /// Reads a path; an empty one stands for none.
    pub(super) fn optional_path(&mut self, key: &'static str) -> Option<PathBuf> {
        let path = self.read(key, Shown::Always, "a path, or \"\" for none", |given| {
            given.text().filter(|text| !text.contains('\0')).map(PathBuf::from)
        });
        path.filter(|path| !path.as_os_str().is_empty())
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.read(key, Shown::Always, "true or false", flag)
    }

    pub(super) fn integer<T: TryFrom<i128> + Debug>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i128>,
    ) -> Option<T> {
        let wanted = format!("an integer from {} to {}", range.start(), range.end());
        self.read(key, Shown::Always, &wanted, |given| {
            given.integer().filter(|number| range.contains(number)).and_then(|number| T::try_from(number).ok())
        })
    }

    pub(super) fn number(&mut self, key: &'static str, wanted: &str, fits: impl Fn(f64) -> bool) -> Option<f64> {
        self.read(key, Shown::Always, wanted, |given| {
            given.number().filter(|number| number.is_finite() && fits(*number))
        })
    }

    pub(super) fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let wanted = "a duration of at most a year such as \"250ms\", \"5s\" or \"10m\"";
        self.read(key, Shown::Always, wanted, duration)
    }

    pub(super) fn positive_duration(&mut self, key: &'static str) -> Option<Duration> {
        let wanted = "a duration above zero and of at most a year such as \"250ms\", \"5s\" or \"10m\"";
        self.read(key, Shown::Always, wanted, |given| duration(given).filter(|duration| !duration.is_zero()))
    }

    /// Reads a size above zero, in bytes.
    pub(super) fn size(&mut self, key: &'static str) -> Option<u64> {
        self.read(key, Shown::Always, "a size above zero such as \"512KiB\", \"32MiB\" or \"1GiB\"", |given| {
            let size: bytesize::ByteSize = given.text()?.trim().parse().ok()?;
            (1..=i64::MAX.unsigned_abs()).contains(&size.as_u64()).then_some(size.as_u64())
        })
    }

    /// Reads one of a set of words.
    pub(super) fn word<T: Copy + Debug>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let wanted = format!("one of {}", names.join(", "));
        self.read(key, Shown::Always, &wanted, |given| {
            let text = given.text()?;
            words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning)
        })
    }

    /// Reads a list of texts, each of which must fit.
    pub(super) fn texts(
        &mut self,
        key: &'static str,
        wanted: &str,
        fits: impl Fn(&str) -> bool,
    ) -> Option<Vec<String>> {
        let form = self.entries.get(key).map_or("", |value| Given::new(value).form_of_list());
        let texts = self.read(key, Shown::Always, &format!("a list of texts{form}: {wanted}"), texts)?;
        let (good, bad): (Vec<String>, Vec<String>) = texts.into_iter().partition(|text| fits(text));
        for text in &bad {
            self.fault(key, quoted(text), wanted);
        }
        bad.is_empty().then_some(good)
    }

    /// Reads globs, each of which must fit, and builds the result from all of them.
    pub(super) fn globs<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        fits: impl Fn(&str) -> bool,
        build: impl FnOnce(&[String]) -> Result<T, globset::Error>,
    ) -> Option<T> {
        let globs = self.texts(key, wanted, |text| is_glob(text) && fits(text))?;
        let all = build(&globs);
        if all.is_err() {
            self.fault(key, "globs that are too much together", wanted);
        }
        all.ok()
    }

    /// Ends the reading: a key that nothing asked for does not exist. Its value is not shown, as it may belong to a
    /// misspelt secret.
    pub(super) fn finish(mut self) {
        let mut unknown: Vec<(String, Value)> = std::mem::take(&mut self.entries).into_iter().collect();
        unknown.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (key, value) in unknown {
            self.locate(&key, &value);
            let wanted = format!("one of the keys {}", self.known.join(", "));
            self.fault(&key, "a key that does not exist", wanted);
        }
    }
}

fn flag(given: &Given<'_>) -> Option<bool> {
    given.flag()
}

fn texts(given: &Given<'_>) -> Option<Vec<String>> {
    given.texts()
}

/// Whether a text is a glob that can be matched with: a well-formed one may still be too large for that.
pub(super) fn is_glob(text: &str) -> bool {
    let compiles = |glob: Glob| GlobSetBuilder::new().add(glob).build().is_ok();
    text.len() <= LONGEST_GLOB && Glob::new(text).is_ok_and(compiles)
}

fn duration(given: &Given<'_>) -> Option<Duration> {
    humantime::parse_duration(given.text()?).ok().filter(|duration| *duration <= LONGEST)
}
