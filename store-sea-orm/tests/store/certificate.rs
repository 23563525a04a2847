//! The certificate in the book is that of the store as it is.

use store_sea_orm::SqliteDriver;
use sync_testkit::certificate;

use crate::fixtures::Files;

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_the_sqlite_store_is_in_the_book() {
    let page = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/src/proof/certificates/sqlite-store.md"
    );
    let certificate = certificate::of_local(&Files::new(SqliteDriver::default())).await;
    certificate.assert_written_at(page);
}
