//! Tests on real servers, in one binary so that they link once.

mod architecture;
mod end_to_end;
mod metrics;
mod pipeline;
