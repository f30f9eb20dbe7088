//! Names of one network: what to answer, what to forward, what to refuse.
