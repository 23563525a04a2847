//! The PostgREST-compatible server of the test stack. Its settings are PostgREST's, as environment variables.

use anyhow::Result;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let config = postrust_core::AppConfig::try_from_env()?;
    let address = format!("{}:{}", config.server_host, config.server_port);
    let app = postrust_server::build(config, postrust_server::Host::SERVER).await?;
    let listener = TcpListener::bind(&address).await?;
    println!("listening on {address}");
    axum::serve(
        postrust_server::lenient_uri::LenientListener(listener),
        app.router,
    )
    .await?;
    Ok(())
}
