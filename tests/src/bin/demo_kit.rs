//! What `steled demo` shows: a generated corp behind the stub of the vendor's library.
//!
//! Writes to `--out`: the corp's upstream folder, `steled.toml`, and `try.txt`, what to try once the first sync is done.
//! With `--serve-directory` it then serves the corp's directory (names, avatars, groups): it prints one line with the
//! address and runs until its standard input is closed. Called again with `--serve-directory` on a folder it has written,
//! it only serves.

use anyhow::{Context, Result};
use clap::Parser;
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};
use stele_tests::{
    client::{Style, hmac_hex, signed_path},
    corp::{CorpFolder, CorpSpec, Directory},
    settings::{API_KEY, Settings},
    standin::DirectoryStandin,
};
use tokio::io::AsyncReadExt;

#[derive(Parser)]
#[command(about = "Makes the corp that `steled demo` archives")]
struct Arguments {
    /// Folder to write to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How many messages to generate.
    #[arg(long, default_value_t = 4000)]
    messages: usize,
    /// Where the daemon shall answer clients of the protocol.
    #[arg(long, default_value = "127.0.0.1:9002")]
    listen: String,
    /// Where the daemon's own API shall be.
    #[arg(long, default_value = "127.0.0.1:9090")]
    admin: String,
    /// Serve the directory until the standard input is closed.
    #[arg(long)]
    serve_directory: bool,
}

const CONFIG: &str = "steled.toml";
const UPSTREAM: &str = "upstream";
const PORT: &str = "directory.port";

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let written = arguments.out.join(PORT);
    let port = match fs::read_to_string(&written) {
        Ok(text) => text.trim().parse().with_context(|| format!("{} holds no port", written.display()))?,
        Err(_) => 0,
    };
    // Bound before the configuration is written, since that names the address; kept only to serve.
    let standin = DirectoryStandin::bind(port).await?;
    if port == 0 || !arguments.serve_directory {
        write(&arguments, &standin.api_base())?;
        fs::write(&written, standin.addr.port().to_string())?;
    }
    if arguments.serve_directory {
        let people = fs::read(arguments.out.join(UPSTREAM).join("directory.json"))?;
        standin.add(serde_json::from_slice::<Directory>(&people)?);
        println!("{}", standin.api_base());
        std::io::stdout().flush()?;
        tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    }
    Ok(())
}

fn write(arguments: &Arguments, api_base: &str) -> Result<()> {
    let upstream = arguments.out.join(UPSTREAM);
    if upstream.exists() {
        fs::remove_dir_all(&upstream)?;
    }
    fs::create_dir_all(&upstream)?;
    let upstream = upstream.canonicalize()?;
    let folder = CorpFolder::generate(&CorpSpec::recent(arguments.messages), &upstream)?;
    let mut settings = Settings::of(&folder, Path::new("data"), &arguments.listen, &arguments.admin);
    settings.api_base = Some(api_base.to_owned());
    // Now and then, so that what is tried later is answered from a living archive.
    settings.sync_cron = Some("* * * * *".to_owned());
    settings.directory_cron = Some("*/10 * * * *".to_owned());
    fs::write(arguments.out.join(CONFIG), settings.toml())?;
    fs::write(arguments.out.join("try.txt"), examples(&arguments.listen))?;
    Ok(())
}

/// Signed requests to try, for a terminal.
fn examples(listen: &str) -> String {
    let base = format!("http://{listen}");
    let get = |title: &str, endpoint: &str, params: &[(&str, &str)]| {
        format!("# {title}\ncurl '{base}{}'\n", signed_path(endpoint, params, API_KEY, Style::Raw))
    };
    let (corp, staff, customer) =
        (("ext_corp_id", "corp123"), ("ext_staff_id", "staff123"), ("receiver_id", "customer456"));
    let signature = hmac_hex(API_KEY, "ext_corp_id=corp123");
    [
        get("who staff123 talks to", "sessions", &[staff, ("session_type", "external"), corp, ("page_size", "5")]),
        get("their groups", "sessions", &[staff, ("session_type", "group"), corp]),
        get("what staff123 and customer456 wrote", "session-msgs", &[staff, customer, corp, ("page_size", "5")]),
        get("their files, with links", "session-msgs", &[staff, customer, corp, ("msg_type", "file")]),
        get(
            "where they mention 产品介绍",
            "search",
            &[("keyword", "产品介绍"), staff, ("ext_peer_id", "customer456"), corp],
        ),
        format!(
            "# fetch new messages now\ncurl -H 'content-type: application/json' \
             -d '{{\"ext_corp_id\":\"corp123\",\"signature\":\"{signature}\"}}' '{base}/api/v1/chat-msg/sync'\n"
        ),
    ]
    .join("\n")
}
