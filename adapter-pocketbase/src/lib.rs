//! A remote on PocketBase.
