//! The configuration through its public face: what is accepted, what is refused and where, what is shown.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use steled::config::{Carrier, Config, ConfigErrors, Durability, Instance, LogFormat, Surroundings};

const FILE: &str = "/etc/stele/steled.toml";

fn surroundings(variables: &[(&str, &str)], files: &[(&str, &str)]) -> Surroundings {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let files: BTreeMap<PathBuf, String> =
        files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect();
    let read_file = move |path: &Path| {
        files.get(path).cloned().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such file"))
    };
    Surroundings { variables, read_file: Box::new(read_file) }
}

fn parse(text: &str, variables: &[(&str, &str)], files: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::parse(Some(Path::new(FILE)), text, &surroundings(variables, files))
}

/// Checks the lines of the error text: place, key and message.
fn check_errors(text: &str, variables: &[(&str, &str)], expected: &[&str]) {
    let errors = parse(text, variables, &[]).expect_err("the configuration must be refused");
    let lines: Vec<String> = errors.problems.iter().map(|problem| problem.to_string().replace(FILE, "F")).collect();
    assert_eq!(lines, expected, "for:\n{text}");
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(parse("", &[], &[]).unwrap(), Config::default());
}

#[test]
fn each_mistake_names_its_place() {
    for (text, expected) in [
        ("data_dir = 7", &["F:1:12: data_dir: expected text, found a whole number"][..]),
        ("data_dir = ''", &["F:1:12: data_dir: must not be empty"]),
        ("[log]\nlevle = 'info'", &["F:2:1: log.levle: unknown key; did you mean \"level\"?"]),
        ("[logs]\n", &["F:1:2: logs: unknown key; did you mean \"log\"?"]),
        ("[log]\nformat = 'xml'", &["F:2:10: log.format: expected \"text\" or \"json\", found \"xml\""]),
        ("log = 3", &["F:1:7: log: expected a table, found a whole number"]),
        ("[jobs]\n  concurrency = 0", &["F:2:17: jobs.concurrency: must be between 1 and 256, is 0"]),
        ("[jobs]\nconcurrency = -1", &["F:2:15: jobs.concurrency: must be between 0 and 18446744073709551615, is -1"]),
        ("[jobs]\nconcurrency = 'four'", &["F:2:15: jobs.concurrency: expected a whole number, found text"]),
        (
            "jobs.zone = 'Asia/Shanhai'",
            &["F:1:13: jobs.zone: unknown time zone \"Asia/Shanhai\"; did you mean \"Asia/Shanghai\"?"],
        ),
        (
            "jobs = { retry_min_seconds = 9, retry_max_seconds = 3 }",
            &["F:1:30: jobs.retry_min_seconds: must not be greater than jobs.retry_max_seconds"],
        ),
        (
            "[admin]\nlisten = '9090'",
            &["F:2:10: admin.listen: expected an address and port such as \"127.0.0.1:9002\", found \"9090\""],
        ),
        (
            "[admin]\nlisten = '0.0.0.0:9090'",
            &["F:2:10: admin.listen: 0.0.0.0:9090 is reachable from elsewhere: that needs admin.api_keys"],
        ),
        (
            "[[instance]]\nname = 'a'\nplugin = 'b'\nlimits = { memory_mib = 8, open_files = 1, cpu_percent = 0, nice = 20 }",
            &[
                "F:4:25: instance[0].limits.memory_mib: must be between 16 and 16777216, is 8",
                "F:4:41: instance[0].limits.open_files: must be between 64 and 1048576, is 1",
                "F:4:58: instance[0].limits.cpu_percent: must be between 1 and 100000, is 0",
                "F:4:68: instance[0].limits.nice: must be between 0 and 19, is 20",
            ],
        ),
        (
            "[[instance]]\nname = 'a'\nplugin = 'b'\ncarrier = 'in-process'\nlimits.nice = 1",
            &["F:5:1: instance[0].limits: limits hold a process of the plugin's own, and in-process it has none: use \
               carrier = \"child\""],
        ),
        (
            "[[instance]]\nname = 'a'\nplugin = 'b'\nsha256 = 'abc'",
            &["F:4:10: instance[0].sha256: expected the 64 hexadecimal digits that `sha256sum` prints, found \"abc\""],
        ),
        ("[admin]\nenabled = 'yes'", &["F:2:11: admin.enabled: expected true or false, found text"]),
        ("[admin]\napi_keys = ['']", &["F:2:13: admin.api_keys[0]: must not be empty"]),
        (
            "[admin]\napi_keys = [{ file = 'gone' }]",
            &["F:2:13: admin.api_keys[0]: file /etc/stele/gone cannot be read: no such file"],
        ),
        (
            "[[instance]]\nname='hq'\nplugin='wecom'\n[instance.config]\na = [{ b = nan }]\nc = -inf",
            &[
                "F:5:12: instance[0].config.a[0].b: expected a number, found NaN",
                "F:6:5: instance[0].config.c: expected a number, found -inf",
            ],
        ),
        ("[media]\nstore = 'disk'", &["F:2:9: media.store: expected \"folder\" or \"s3\", found \"disk\""]),
        (
            "media.store = 's3'\nmedia.s3 = { endpoint = 'https://s3.example.com', access_key = { file = 'gone' } }",
            &[
                "F:2:12: media.s3.bucket: is missing: store = \"s3\" needs it",
                "F:2:12: media.s3.secret_key: is missing: store = \"s3\" needs it",
                "F:2:64: media.s3.access_key: file /etc/stele/gone cannot be read: no such file",
            ],
        ),
        (
            "[media.s3]\nendpoint = 's3.example.com'\nbucket = 'No'\nprefix = '/x'\nregion = ''\nsecre_key = 'x'",
            &[
                "F:2:12: media.s3.endpoint: expected an address such as \"https://s3.eu-central-1.amazonaws.com\", without path or password",
                "F:3:10: media.s3.bucket: expected 3 to 63 of a-z, 0-9, - and ., found \"No\"",
                "F:4:10: media.s3.prefix: expected names joined by /, such as \"stele/media\", found \"/x\"",
                "F:5:10: media.s3.region: must not be empty",
                "F:6:1: media.s3.secre_key: unknown key; did you mean \"secret_key\"?",
            ],
        ),
        (
            "media.s3.endpoint = 'https://u:topsecret@s3.example.com'",
            &[
                "F:1:21: media.s3.endpoint: expected an address such as \"https://s3.eu-central-1.amazonaws.com\", without path or password",
            ],
        ),
        (
            "media.store = 's3'\nmedia.s3 = { endpoint = 'http://10.0.0.9:9000', bucket = 'abc', access_key = 'a', secret_key = 'b' }",
            &[
                "F:2:25: media.s3.endpoint: what goes to 10.0.0.9 by http can be read on its way: that needs https, or allow_http",
            ],
        ),
        (
            "media.store = 's3'\nmedia.s3 = { endpoint = 'https://[::1]', bucket = 'abc', access_key = 'a', secret_key = 'b', path_style = false }",
            &["F:2:107: media.s3.path_style: the bucket can stand in the name of a host only where endpoint has one"],
        ),
        (
            "[search]\nengine = 'meili'",
            &["F:2:10: search.engine: expected \"embedded\" or \"meilisearch\", found \"meili\""],
        ),
        (
            "[search]\nengine = 'meilisearch'",
            &["F:1:1: search.url: is missing: the engine \"meilisearch\" is a server"],
        ),
        (
            "[search]\nurl = 'localhost:7700'\nindex = 'a b'\nkey = { file = 'gone' }",
            &[
                "F:2:7: search.url: expected an address such as \"http://127.0.0.1:7700\"",
                "F:3:9: search.index: must be 1 to 200 of a-z, A-Z, 0-9, - and _, is \"a b\"",
                "F:4:7: search.key: file /etc/stele/gone cannot be read: no such file",
            ],
        ),
        (
            "[search]\nindex = 'im-new'",
            &["F:2:9: search.index: must not end in -new, as an index does while it is being built; is \"im-new\""],
        ),
        (
            "[search]\nurl = 'http://me:secret@localhost:7700'",
            &["F:2:7: search.url: must not hold a secret, since it is logged: write it as search.key"],
        ),
        (
            "[search]\nurl = 'ftp://me:secret@localhost'",
            &["F:2:7: search.url: must not hold a secret, since it is logged: write it as search.key"],
        ),
        (
            "[search]\nurl = 'http://me:secret@localhost:99999x'",
            &["F:2:7: search.url: expected an address such as \"http://127.0.0.1:7700\""],
        ),
        ("[search]\nurl = 'http://localhost:7700/?secret'", &["F:2:7: search.url: must not hold a query or fragment"]),
        ("[instance]\nname = 'hq'", &["F:1:1: instance: expected an array of tables: write [[instance]]"]),
        ("\n[[instance]]\nname = 'hq'", &["F:2:1: instance[0].plugin: is missing"]),
        (
            "[[instance]]\nname = 'H Q'\nplugin = 'wecom'",
            &[
                "F:2:8: instance[0].name: must be 1 to 64 of a-z, 0-9, -, _ and ., and begin with a letter or digit; is \"H Q\"",
            ],
        ),
        (
            "[[instance]]\nname='hq'\nplugin='wecom'\ncarier = 'child'",
            &["F:4:1: instance[0].carier: unknown key; did you mean \"carrier\"?"],
        ),
        (
            "[[instance]]\nname='hq'\nplugin='wecom'\nprefix = 'hq/'",
            &["F:4:10: instance[0].prefix: expected a path such as \"/hq\", found \"hq/\""],
        ),
        (
            "[[instance]]\nname='hq'\nplugin='wecom'\npublic_url = 'example.com'",
            &[
                "F:4:14: instance[0].public_url: expected an address such as \"https://archive.example.com\", found \"example.com\"",
            ],
        ),
        (
            "[[instance]]\nname='hq'\nplugin='wecom'\n[instance.tls]\ncert = 'c.pem'",
            &["F:4:1: instance[0].tls: cert and key belong together; one is missing"],
        ),
        (
            "[[instance]]\nname='hq'\nplugin='wecom'\n[instance.sync]\ncron = '61 * * * *'",
            &["F:5:8: instance[0].sync.cron: \"61 * * * *\" is not a cron pattern of five or six fields: CRON"],
        ),
        (
            "[[instance]]\nname='hq'\nplugin='wecom'\n[instance.directory]\ncron = '0 0 31 2 *'",
            &["F:5:8: instance[0].directory.cron: \"0 0 31 2 *\" never comes"],
        ),
        (
            "[[instance]]\nname='hq'\nplugin='wecom'\nconfig.corp = [{ secret = { file = 's' } }, { secret = { env = 'GONE' } }]",
            &[
                "F:4:27: instance[0].config.corp[0].secret: file /etc/stele/s cannot be read: no such file",
                "F:4:56: instance[0].config.corp[1].secret: variable GONE is not set",
            ],
        ),
        (
            "[[instance]]\nname='a'\nplugin='x'\n[[instance]]\nname='a'\nplugin='x'",
            &["F:5:6: instance[1].name: the name \"a\" is taken by instance[0]"],
        ),
        (
            "[[instance]]\nname='a'\nplugin='x'\nlisten='127.0.0.1:9002'\n[[instance]]\nname='b'\nplugin='x'\nlisten='127.0.0.1:9002'",
            &[
                "F:8:8: instance[1].listen: 127.0.0.1:9002 is taken by instance \"a\": give each its own listen, or its own prefix",
            ],
        ),
        (
            "[[instance]]\nname='a'\nplugin='x'\nlisten='127.0.0.1:9090'",
            &["F:4:8: instance[0].listen: 127.0.0.1:9090 is taken by admin.listen"],
        ),
        ("a = 1\nb = = 2", &["F:2:5: SYNTAX"]),
    ] {
        let expected: Vec<&str> = expected.to_vec();
        let errors = parse(text, &[], &[]).expect_err(text);
        let lines: Vec<String> = errors.problems.iter().map(|problem| problem.to_string().replace(FILE, "F")).collect();
        assert_eq!(lines.len(), expected.len(), "for:\n{text}\n{lines:#?}");
        for (line, expected) in lines.iter().zip(expected) {
            // The words of the parsers beneath are theirs; the place is ours.
            match expected.strip_suffix("CRON").or(expected.strip_suffix("SYNTAX")) {
                Some(prefix) => assert!(line.starts_with(prefix) && line.len() > prefix.len(), "{line}"),
                None => assert_eq!(line, expected, "for:\n{text}"),
            }
        }
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = "datadir = '/x'\n[log]\nlevel = '=='\nformat = 1\n[jobs]\nzone = 'Mars'\n[[instance]]\nname = ''\nlisten = 1\nsync.cron = 'x'\n";
    let errors = parse(text, &[("STELE_MEDIA__LINK_DAYS", "0")], &[]).expect_err("must be refused");
    let keys: Vec<&str> = errors.problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "datadir",
            "log.level",
            "log.format",
            "jobs.zone",
            "instance[0].plugin",
            "instance[0].name",
            "instance[0].listen",
            "instance[0].sync.cron",
            "media.link_days"
        ]
    );
    assert!(errors.to_string().starts_with("9 errors in the configuration\n  /etc/stele/steled.toml:1:1: datadir: "));
}

#[test]
fn variables_win_over_the_file() {
    let text = "[jobs]\nconcurrency = 2\n[[instance]]\nname = 'main-hq'\nplugin = 'wecom'\nlisten = '127.0.0.1:1'\nconfig.proxy = 'a'\n";
    let variables = [
        ("STELE_DATA_DIR", "data"),
        ("STELE_JOBS__CONCURRENCY", "7"),
        ("STELE_LOG__FORMAT", "json"),
        ("STELE_LOG__LEVEL", "info,steled=debug"),
        ("STELE_MEDIA__LINK_KEY", "0123"),
        ("STELE_ADMIN__API_KEYS", "['k1', 'k2']"),
        ("STELE_INSTANCE__MAIN_HQ__LISTEN", "127.0.0.1:2"),
        ("STELE_INSTANCE__MAIN_HQ__CONFIG__PROXY", "b"),
        ("STELE_INSTANCE__MAIN_HQ__SYNC__CRON", "*/5 * * * * *"),
        ("STELE_CONFIG", "/etc/other.toml"),
        ("STELE_DEMO_KIT", "/opt/kit"),
        ("OTHER", "x"),
    ];
    let config = parse(text, &variables, &[]).unwrap();
    assert_eq!(config.data_dir, Path::new("data"));
    assert_eq!(config.jobs.concurrency, 7);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.log.level, "info,steled=debug");
    assert_eq!(config.media.link_key.as_ref().unwrap().expose(), "0123");
    assert_eq!(config.admin.api_keys.iter().map(|key| key.expose()).collect::<Vec<_>>(), ["k1", "k2"]);
    let instance = &config.instances[0];
    assert_eq!(instance.listen.unwrap().port(), 2);
    assert_eq!(instance.config.value()["proxy"], "b");
    assert_eq!(instance.sync.cron.as_ref().unwrap().as_str(), "*/5 * * * * *");
}

#[test]
fn an_empty_variable_means_unset() {
    let text = "data_dir = '/x'\n[log]\nlevel = 'debug'\nformat = 'json'\n[admin]\nenabled = false\napi_keys = ['k']\n\
                [jobs]\nconcurrency = 2\nzone = 'Asia/Shanghai'\n[[instance]]\nname = 'hq'\nplugin = 'wecom'\n\
                prefix = '/hq'\ncarrier = 'in-process'\nsync.enabled = false\nconfig.proxy = 'a'\nconfig.pages = 7\n";
    let variables = [
        "STELE_DATA_DIR",
        "STELE_LOG",
        "STELE_ADMIN__ENABLED",
        "STELE_ADMIN__API_KEYS",
        "STELE_JOBS__CONCURRENCY",
        "STELE_JOBS__ZONE",
        "STELE_INSTANCE__HQ__PREFIX",
        "STELE_INSTANCE__HQ__CARRIER",
        "STELE_INSTANCE__HQ__SYNC",
        "STELE_INSTANCE__HQ__CONFIG__PROXY",
        "STELE_INSTANCE__BRANCH",
    ];
    let config = parse(text, &variables.map(|name| (name, "")), &[]).unwrap();
    let instance = Instance {
        name: "hq".into(),
        plugin: "wecom".into(),
        config: serde_json::json!({ "pages": 7 }).into(),
        ..Instance::default()
    };
    assert_eq!(config, Config { instances: vec![instance], ..Config::default() });
    check_errors(
        "[[instance]]\nname='hq'\nplugin='wecom'",
        &[("STELE_INSTANCE__HQ__PLUGIN", ""), ("STELE_ADMIN__API_KEYS", "['']")],
        &[
            "F:3:8: instance[0].plugin: is missing",
            "variable STELE_ADMIN__API_KEYS: admin.api_keys[0]: must not be empty",
        ],
    );
}

#[test]
fn what_a_variable_says_to_a_plugin_is_text() {
    let text = "[[instance]]\nname = 'hq'\nplugin = 'wecom'\nconfig.pages = 7\nconfig.on = true\n";
    let check = |said: &str, expected: serde_json::Value| {
        let config = parse(text, &[("STELE_INSTANCE__HQ__CONFIG__WORD", said)], &[]).unwrap();
        let value = config.instances[0].config.value();
        assert_eq!(*value, serde_json::json!({ "pages": 7, "on": true, "word": expected }), "{said}");
    };
    for said in
        ["12345678", "1_000", "007", "true", "1e5", "0.5", "nan", "-inf", "2026-01-02 03:04:05", "[x", "a b # c"]
    {
        check(said, said.into());
    }
    check("'12'", "12".into());
    check("[1, '2', true]", serde_json::json!([1, "2", true]));
    check("{ a = 1 }", serde_json::json!({ "a": 1 }));
}

#[test]
fn mistakes_in_variables_name_the_variable() {
    check_errors(
        "[[instance]]\nname='hq'\nplugin='wecom'",
        &[
            ("STELE_JOBS__CONCURRENCY", "many"),
            ("STELE_LGO__LEVEL", "info"),
            ("STELE_INSTANCE__HQ__LISTEN", "9002"),
            ("STELE_INSTANCE__BRANCH__LISTEN", "127.0.0.1:9002"),
            ("STELE_ADMIN__API_KEYS", "[1]"),
            ("STELE_LOG", "{ format = 'xml' }"),
        ],
        &[
            "variable STELE_ADMIN__API_KEYS: admin.api_keys[0]: expected text, found a whole number",
            "variable STELE_INSTANCE__BRANCH__…: no [[instance]] of this name in the file",
            "variable STELE_INSTANCE__HQ__LISTEN: instance[0].listen: expected an address and port such as \"127.0.0.1:9002\", found \"9002\"",
            "variable STELE_JOBS__CONCURRENCY: jobs.concurrency: expected a whole number, found text",
            "variable STELE_LGO__LEVEL: lgo: unknown key; did you mean \"log\"?",
            "variable STELE_LOG: log.format: expected \"text\" or \"json\", found \"xml\"",
        ],
    );
}

#[test]
fn relative_paths_start_from_the_folder_of_the_file() {
    let config = parse("data_dir = 'data'\n[plugins]\ndirs = ['p', '/q']", &[], &[]).unwrap();
    assert_eq!(config.data_dir, Path::new("/etc/stele/data"));
    assert_eq!(config.plugins.dirs, [PathBuf::from("/etc/stele/p"), PathBuf::from("/q")]);
}

#[test]
fn an_address_of_postgres_is_shown_nowhere() {
    for (url, message) in [
        ("mysql://a:topsecret@b/c", "the address of the database does not begin with postgres://"),
        ("postgres://a:topsecret@b:port/c", "the address of the database cannot be understood"),
    ] {
        let errors = parse(&format!("[archive]\nurl = '{url}'"), &[], &[]).expect_err(url).to_string();
        assert!(errors.contains(message) && !errors.contains("topsecret"), "{errors}");
    }
    let config =
        parse("[archive]\nurl = { file = 'url' }", &[], &[("/etc/stele/url", "postgres://a:b@c/d\n")]).unwrap();
    assert_eq!(config.archive.url.unwrap().expose(), "postgres://a:b@c/d");
}

const WITH_SECRETS: &str = r#"
[admin]
api_keys = ["topsecret-admin"]
[archive]
url = "postgres://stele:topsecret-database@db.example.com/stele"
[media]
link_key = { env = "LINK" }
s3 = { access_key = "topsecret-access", secret_key = { env = "LINK" } }
[[instance]]
name = "hq"
plugin = "wecom"
carrier = "in-process"
listen = "127.0.0.1:9002"
[instance.config]
library = "/opt/lib.so"
proxy = "http://user:topsecret-proxy@proxy:3128"
api_keys = [{ key = "topsecret-api", corps = ["corp123"] }]
note = { file = "note.txt" }
date = 2026-01-02
ratio = 0.5
[[instance.config.corp]]
id = "corp123"
archive_secret = "topsecret-archive"
private_keys = [{ version = 1, pem = { file = "/keys/v1.pem" } }]
"#;

fn with_secrets() -> Config {
    let files = [("/keys/v1.pem", "topsecret-pem\n"), ("/etc/stele/note.txt", "topsecret-note\r\n")];
    parse(WITH_SECRETS, &[("LINK", "topsecret-link")], &files).unwrap()
}

#[test]
fn references_are_resolved_for_the_plugin() {
    let config = with_secrets();
    let instance = &config.instances[0];
    assert_eq!(instance.carrier, Carrier::InProcess);
    let value = instance.config.value();
    assert_eq!(value["corp"][0]["private_keys"][0]["pem"], "topsecret-pem");
    assert_eq!(value["corp"][0]["private_keys"][0]["version"], 1);
    assert_eq!(value["note"], "topsecret-note");
    assert_eq!(value["date"], "2026-01-02");
    assert_eq!(value["ratio"], 0.5);
    assert_eq!(config.media.link_key.unwrap().expose(), "topsecret-link");
}

#[test]
fn plain_http_is_for_this_machine_or_for_who_says_so() {
    let keys = "bucket = 'abc'\naccess_key = 'a'\nsecret_key = 'b'\n";
    for endpoint in ["http://127.0.0.1:8333", "http://[::1]:8333", "http://localhost:8333/", "https://10.0.0.9"] {
        let text = format!("media.store = 's3'\n[media.s3]\nendpoint = '{endpoint}'\n{keys}");
        parse(&text, &[], &[]).unwrap_or_else(|errors| panic!("{endpoint}: {errors}"));
    }
    let text = format!("media.store = 's3'\n[media.s3]\nallow_http = true\nendpoint = 'http://10.0.0.9'\n{keys}");
    assert!(parse(&text, &[], &[]).is_ok());
}

#[test]
fn no_secret_is_shown() {
    let config = with_secrets();
    for shown in [format!("{config:?}"), format!("{config:#?}"), config.to_toml()] {
        assert!(!shown.contains("topsecret"), "{shown}");
        assert!(shown.contains("/opt/lib.so") && shown.contains("***"), "{shown}");
    }
}

#[test]
fn the_printed_configuration_reads_back() {
    let config = with_secrets();
    let again = parse(&config.to_toml(), &[], &[]).unwrap();
    assert_eq!(again.http, config.http);
    assert_eq!(again.jobs, config.jobs);
    assert_eq!(again.instances[0].listen, config.instances[0].listen);
    assert_eq!(again.to_toml(), config.to_toml());
}

/// The commented file with every setting uncommented.
fn uncommented() -> String {
    let lines = steled::config::DEFAULT_FILE.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => setting,
        _ => line,
    });
    lines.fold(String::new(), |text, line| text + line + "\n")
}

fn example() -> Config {
    let text = uncommented();
    let named = text.lines().filter_map(|line| line.split_once("file = \"")?.1.split('"').next());
    let files: Vec<(&str, &str)> = named.map(|path| (path, "x")).collect();
    parse(&text, &[], &files).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn the_commented_file_is_the_default() {
    assert_eq!(parse(steled::config::DEFAULT_FILE, &[], &[]).unwrap(), Config::default());
}

#[test]
fn every_commented_default_is_the_default() {
    let example = example();
    let expected = [("hq", "wecom"), ("chat", "gateway"), ("im", "wukongim"), ("openim", "openim")];
    let expected = expected.into_iter().zip(&example.instances);
    let expected = expected.map(|((name, plugin), instance)| Instance {
        name: name.into(),
        plugin: plugin.into(),
        config: instance.config.clone(),
        ..Instance::default()
    });
    assert_eq!(example, Config { instances: expected.collect(), ..Config::default() });
    assert_eq!(example.archive.durability, Durability::Full);
}

#[test]
fn every_key_is_documented() {
    let document: toml_edit::DocumentMut = uncommented().parse().unwrap();
    let instance = document["instance"][0].as_table().expect("the example instance is a table");
    use steled::config as c;
    let sections: &[(&str, &toml_edit::Table, &[&str])] = &[
        ("top", document.as_table(), Config::KEYS),
        ("log", document["log"].as_table().unwrap(), c::Log::KEYS),
        ("admin", document["admin"].as_table().unwrap(), c::Admin::KEYS),
        ("http", document["http"].as_table().unwrap(), c::Http::KEYS),
        ("archive", document["archive"].as_table().unwrap(), c::Archive::KEYS),
        ("search", document["search"].as_table().unwrap(), c::Search::KEYS),
        ("jobs", document["jobs"].as_table().unwrap(), c::Jobs::KEYS),
        ("media", document["media"].as_table().unwrap(), c::Media::KEYS),
        ("media.s3", document["media"]["s3"].as_table().unwrap(), c::S3::KEYS),
        ("plugins", document["plugins"].as_table().unwrap(), c::Plugins::KEYS),
        ("instance", instance, Instance::KEYS),
        ("instance.tls", instance["tls"].as_table().unwrap(), c::Tls::KEYS),
        ("instance.sync", instance["sync"].as_table().unwrap(), c::InstanceSync::KEYS),
        ("instance.directory", instance["directory"].as_table().unwrap(), c::InstanceDirectory::KEYS),
        ("instance.media", instance["media"].as_table().unwrap(), c::InstanceMedia::KEYS),
        ("instance.limits", instance["limits"].as_table().unwrap(), c::InstanceLimits::KEYS),
    ];
    for (name, table, keys) in sections {
        let missing: Vec<_> = keys.iter().filter(|key| !table.contains_key(key)).collect();
        assert!(missing.is_empty(), "config/steled.toml does not document {missing:?} of {name}");
    }
}
