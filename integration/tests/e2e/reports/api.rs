//! The API, as foreign harnesses and plugins use it.
