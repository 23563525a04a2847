//! A remote on Supabase.

pub mod migration;
