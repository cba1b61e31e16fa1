//! Production: nginx on the configuration that is delivered, the stack of `docker/production/` without its containers, and what
//! happens when a part of it dies.

mod backups;
mod compose;
mod drills;
mod long_term;
mod mutual;
mod nginx;
mod renewed;
mod stack;
