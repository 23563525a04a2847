//! The suites hold for the memory implementations, and catch what is wrong on purpose.
