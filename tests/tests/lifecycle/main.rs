//! The life of a plugin's process under the real daemon: what it may take, what it is loaded from, how it is replaced, and how it
//! ends.

mod describe;
mod files;
mod limits;
mod orphans;
mod reload;
mod rig;
mod upgrade;
