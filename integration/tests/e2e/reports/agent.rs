//! The agent as a daemon: started twice, stopped, told wrong things.
