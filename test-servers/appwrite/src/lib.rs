//! A stand-in for an Appwrite server.
