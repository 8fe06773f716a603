//! What is told of settings beside that they are at fault.

use super::{Directory, ENDPOINT, Source, load};

#[test]
fn without_an_endpoint_it_is_told_which_files_were_read_and_which_were_not() {
    let directory = Directory::new(&[("default.toml", "[log]\n"), ("gateway.toml", ENDPOINT), ("notes.txt", "")]);
    let path = |name: &str| directory.path().join(name).display().to_string();
    let told = load(&directory.source(&[])).unwrap_err().to_string();
    let expected = format!(
        "endpoints: found no endpoint at all (read: the built-in defaults, {}; not there: {}, {}; there, but of no name that is \
         read (see --env, or name one by --settings): {}); wanted: ",
        path("default.toml"),
        path("development.toml"),
        path("local.toml"),
        path("gateway.toml")
    );
    assert!(told.starts_with(&expected), "{told}\n{expected}");
    let one = Source { place: Some(path("default.toml").into()), ..Source::default() };
    let told = load(&one).unwrap_err().to_string();
    assert!(told.contains(&format!("(read: the built-in defaults, {}); wanted", path("default.toml"))), "{told}");
}
