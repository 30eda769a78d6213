//! Members agree over loopback: each has its own directory, threads and port, and is killed by taking its threads away.

mod agree;
mod group;
mod members;
mod start;
