use std::os::unix::fs::PermissionsExt;

use clap::{CommandFactory, Parser};

use super::{Options, OptionsError};

fn parse(arguments: &[&str]) -> Result<Options, clap::Error> {
    Options::try_parse_from(std::iter::once("server").chain(arguments.iter().copied()))
}

#[test]
fn the_options_are_consistent_and_each_is_an_environment_variable() {
    let command = Options::command();
    command.clone().debug_assert();
    for option in command.get_arguments().filter(|a| !["help", "version"].contains(&a.get_id().as_str())) {
        let name = option.get_long().unwrap();
        let variable = format!("PLIMSOLL_{}", name.to_uppercase().replace('-', "_"));
        assert_eq!(option.get_env().unwrap().to_str().unwrap(), variable);
        assert!(option.get_help().is_some(), "--{name} is explained");
    }
}

#[test]
fn a_bad_value_names_its_option_and_what_is_accepted() {
    for (arguments, said) in [
        (vec!["--listen", "nowhere"], vec!["--listen", "127.0.0.1:3000"]),
        (vec!["--listen", "127.0.0.1:99999"], vec!["--listen", "accepted"]),
        (vec!["--admin-token", ""], vec!["--admin-token", "accepted"]),
        (vec!["--runner-token", "two words"], vec!["--runner-token", "accepted"]),
        (vec!["--lisen", "127.0.0.1:0"], vec!["--lisen", "--listen"]),
    ] {
        let error = parse(&arguments).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{arguments:?}");
        let text = error.to_string();
        assert!(said.iter().all(|part| text.contains(part)), "{arguments:?}: {text}");
    }
}

#[test]
fn an_address_open_to_the_network_needs_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let db = folder.path().join("plimsoll.db");
    for (listen, token, starts) in [
        ("127.0.0.1:0", None, true),
        ("[::1]:0", None, true),
        ("localhost:0", None, true),
        ("[::ffff:127.0.0.1]:0", None, true),
        ("0.0.0.0:0", None, false),
        ("[::]:0", None, false),
        ("192.168.1.7:3000", None, false),
        ("0.0.0.0:0", Some("0123456789"), true),
    ] {
        let mut arguments = vec!["--listen", listen, "--db", db.to_str().unwrap()];
        arguments.extend(token.iter().flat_map(|token| ["--admin-token", token]));
        match parse(&arguments).unwrap().access() {
            Ok(access) => assert!(starts && access.admin.is_some() == token.is_some(), "{listen}"),
            Err(error) => {
                assert!(!starts && matches!(error, OptionsError::TokenMissing(_)), "{listen}: {error}");
                assert!(error.to_string().contains("--admin-token"), "{error}");
            }
        }
    }
}

#[test]
fn a_runner_token_is_made_once_and_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let db = folder.path().join("plimsoll.db");
    let options = parse(&["--db", db.to_str().unwrap()]).unwrap();
    let first = options.access().unwrap();
    let file = folder.path().join("plimsoll.db.runner-token");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(options.access().unwrap().runner, first.runner, "kept over restarts");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(options.access(), Err(OptionsError::RunnerToken { .. })));
}

#[test]
fn what_is_named_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let db = folder.path().join("plimsoll.db");
    let runner = folder.path().join("bench-runner");
    let with = |arguments: &[&str]| {
        let db = db.to_str().unwrap();
        parse(&[&["--db", db, "--with-runner", runner.to_str().unwrap()], arguments].concat())
            .unwrap()
            .access()
    };
    assert!(matches!(with(&[]), Err(OptionsError::NoRunner(_))));
    std::fs::write(&runner, "").unwrap();
    assert!(with(&[]).is_ok());
    assert!(matches!(with(&["--models-dir", "/no/such/folder"]), Err(OptionsError::NoModels(_))));
}
