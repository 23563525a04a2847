//! Starts a private Supabase stack.
