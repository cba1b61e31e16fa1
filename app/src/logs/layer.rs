//! Takes events from whoever states them, and puts their lines into the queue.

use std::sync::Arc;

use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::line::{self, Style};
use super::queue::Queue;

/// Makes lines of events.
pub(super) struct Lines {
    queue: Arc<Queue>,
    style: Style,
}

impl Lines {
    /// Lines of this style, into this queue.
    pub(super) fn new(queue: Arc<Queue>, style: Style) -> Self {
        Self { queue, style }
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        line::write(event, self.style, |line| self.queue.push(line, *event.metadata().level()));
    }
}
