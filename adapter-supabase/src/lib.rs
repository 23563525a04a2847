//! A remote on Supabase.
