//! What labs do on a network: servers, routers and multicast of their own.
