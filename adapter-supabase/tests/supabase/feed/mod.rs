//! The change feed's SQL, on PostgreSQL 15 and 17.

/// Each function as a test on each server.
macro_rules! on_each_server {
    ($($name:ident),* $(,)?) => {
        mod on_postgres_15 {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(project) = $crate::feed::project::Project::on(15).await {
                    super::$name(&project).await;
                    project.drop().await;
                }
            })*
        }
        mod on_postgres_17 {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(project) = $crate::feed::project::Project::on(17).await {
                    super::$name(&project).await;
                    project.drop().await;
                }
            })*
        }
    };
}

mod access;
mod caller;
mod conflicts;
mod delivery;
mod installs;
mod loss;
mod over_http;
mod plans;
mod project;
mod pushes;
mod races;
mod restores;
mod triggers;
