//! A remote on Appwrite.
