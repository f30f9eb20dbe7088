//! Tunnels: carries frames between hosts over QUIC and VXLAN sockets.
