//! Every documented family, on a live page: written to the stream by the public contract, read back as an exact figure.

mod initial;
mod requirement;
mod rows;
mod table;
