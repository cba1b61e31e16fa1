//! What a dashboard is made of, and the words in which the dashboards beside this file are written.
//!
//! A panel without title, description, unit or query cannot be said here; where panels stand follows from their order.

/// What a number is, in Grafana's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Each is what Grafana calls it.
pub enum Unit {
    Bytes,
    BytesPerSecond,
    /// A plain number.
    Count,
    /// Of something, each minute: titles say so, for Grafana has no word for it.
    PerMinute,
    /// Of something, each second.
    PerSecond,
    Percent,
    /// Quality (0 to 1) for each US cent.
    QualityPerCent,
    RequestsPerSecond,
    Seconds,
    /// 0 to 1, shown as a percentage.
    Share,
    Usd,
}

impl Unit {
    /// Grafana's id of the unit.
    pub fn id(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "Bps",
            Self::Count | Self::PerMinute => "short",
            Self::PerSecond => "ops",
            Self::Percent => "percent",
            Self::QualityPerCent => "suffix: per ¢",
            Self::RequestsPerSecond => "reqps",
            Self::Seconds => "s",
            Self::Share => "percentunit",
            Self::Usd => "currencyUSD",
        }
    }
}

/// A colour of Grafana's palette, which suits the dark and the light theme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Colour {
    Blue,
    Green,
    Orange,
    Purple,
    Red,
    Yellow,
}

impl Colour {
    /// Its name in the palette.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
            Self::Orange => "orange",
            Self::Purple => "purple",
            Self::Red => "red",
            Self::Yellow => "yellow",
        }
    }
}

/// How series get their colours. What has a meaning looks the same on every dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Palette {
    /// By the values' thresholds.
    Thresholds,
    /// One after the other.
    Series,
    /// The one colour.
    One(Colour),
    /// By the name that a series bears: pattern and colour.
    Named(&'static [(&'static str, Colour)]),
}

/// How a panel shows its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Large numbers, with the way that they came behind them.
    Stat,
    /// The name of the one series found, large, with its value.
    Name,
    /// A dial from [`Panel::between`]'s one end to the other.
    Gauge,
    /// One bar for each series.
    Bars,
    /// Lines over time.
    Lines,
    /// Areas over time, one on the other.
    Areas,
    /// Columns over time, one on the other.
    Columns,
    /// What state each series was in, over time.
    States(&'static [(u32, &'static str, Colour)]),
    /// Rows and columns: one query for each column, joined by the label named.
    Table,
}

/// One query of a panel.
#[derive(Debug, Clone)]
pub struct Query {
    /// PromQL with Grafana's variables in it.
    pub expr: String,
    /// The series' name: text with `{{label}}` in it. In a table, the column's title.
    pub legend: &'static str,
    /// Asked for the present alone, not for every point of the range.
    pub instant: bool,
    /// In a table, the column's unit.
    pub unit: Option<Unit>,
}

/// From which value on which colour holds; the first holds from the beginning.
pub type Steps = Vec<(f64, Colour)>;

/// One panel.
#[derive(Debug, Clone)]
pub struct Panel {
    pub(crate) title: &'static str,
    pub(crate) english: &'static str,
    pub(crate) japanese: &'static str,
    pub(crate) view: View,
    pub(crate) unit: Unit,
    pub(crate) queries: Vec<Query>,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) palette: Palette,
    pub(crate) base: Colour,
    pub(crate) steps: Steps,
    pub(crate) bounds: (Option<f64>, Option<f64>),
    pub(crate) decimals: Option<u32>,
    pub(crate) idle: &'static str,
    pub(crate) interval: Option<&'static str>,
}

/// A panel of this view, with the rest to be said.
fn panel(view: View, title: &'static str, english: &'static str, japanese: &'static str) -> Panel {
    let (width, height, palette) = match view {
        View::Stat => (4, 4, Palette::Thresholds),
        View::Name => (4, 4, Palette::One(Colour::Purple)),
        View::Gauge => (6, 8, Palette::Thresholds),
        View::Bars => (8, 8, Palette::Series),
        View::Lines | View::Areas | View::Columns => (12, 8, Palette::Series),
        View::States(_) => (8, 8, Palette::Thresholds),
        View::Table => (24, 8, Palette::Thresholds),
    };
    Panel {
        title,
        english,
        japanese,
        view,
        unit: Unit::Count,
        queries: Vec::new(),
        width,
        height,
        palette,
        base: Colour::Blue,
        steps: Vec::new(),
        bounds: (None, None),
        decimals: None,
        idle: "No data",
        interval: None,
    }
}

/// Large numbers.
pub(crate) fn stat(title: &'static str, english: &'static str, japanese: &'static str) -> Panel {
    panel(View::Stat, title, english, japanese)
}

/// The name of what was found.
pub(crate) fn name(title: &'static str, english: &'static str, japanese: &'static str) -> Panel {
    panel(View::Name, title, english, japanese)
}

/// A dial.
pub(crate) fn gauge(title: &'static str, english: &'static str, japanese: &'static str) -> Panel {
    panel(View::Gauge, title, english, japanese)
}

/// A bar for each series.
pub(crate) fn bars(title: &'static str, english: &'static str, japanese: &'static str) -> Panel {
    panel(View::Bars, title, english, japanese)
}

/// Lines over time.
pub(crate) fn lines(title: &'static str, english: &'static str, japanese: &'static str) -> Panel {
    panel(View::Lines, title, english, japanese)
}

/// Areas over time, one on the other.
pub(crate) fn areas(title: &'static str, english: &'static str, japanese: &'static str) -> Panel {
    panel(View::Areas, title, english, japanese)
}

/// Columns over time, one on the other.
pub(crate) fn columns(title: &'static str, english: &'static str, japanese: &'static str) -> Panel {
    panel(View::Columns, title, english, japanese)
}

/// States over time.
pub(crate) fn states(
    states: &'static [(u32, &'static str, Colour)],
    title: &'static str,
    english: &'static str,
    japanese: &'static str,
) -> Panel {
    panel(View::States(states), title, english, japanese)
}

/// Rows and columns.
pub(crate) fn table(title: &'static str, english: &'static str, japanese: &'static str) -> Panel {
    panel(View::Table, title, english, japanese)
}

impl Panel {
    /// What its numbers are.
    pub(crate) fn unit(mut self, unit: Unit) -> Self {
        self.unit = unit;
        self
    }

    /// A query over the range; its one series bears the panel's title.
    pub(crate) fn query(self, expr: impl Into<String>) -> Self {
        let title = self.title;
        self.line(expr, title)
    }

    /// A query over the range, its series named by `legend`.
    pub(crate) fn line(mut self, expr: impl Into<String>, legend: &'static str) -> Self {
        self.queries.push(Query { expr: expr.into(), legend, instant: false, unit: None });
        self
    }

    /// A query for the present, its series named by `legend`.
    pub(crate) fn now(mut self, expr: impl Into<String>, legend: &'static str) -> Self {
        self.queries.push(Query { expr: expr.into(), legend, instant: true, unit: None });
        self
    }

    /// A column of a table.
    pub(crate) fn column(mut self, title: &'static str, unit: Unit, expr: impl Into<String>) -> Self {
        self.queries.push(Query { expr: expr.into(), legend: title, instant: true, unit: Some(unit) });
        self
    }

    /// Width in 24ths of the page.
    pub(crate) fn wide(mut self, width: u32) -> Self {
        self.width = width;
        self
    }

    /// Height in rows of the grid.
    pub(crate) fn high(mut self, height: u32) -> Self {
        self.height = height;
        self
    }

    /// How series get their colours.
    pub(crate) fn colours(mut self, palette: Palette) -> Self {
        self.palette = palette;
        self
    }

    /// Green from `good` on, yellow from `fair` on, red below.
    pub(crate) fn good_above(mut self, good: f64, fair: f64) -> Self {
        self.base = Colour::Red;
        self.steps = vec![(fair, Colour::Yellow), (good, Colour::Green)];
        self
    }

    /// Green at first, yellow from `fair` on, red from `bad` on.
    pub(crate) fn bad_above(mut self, fair: f64, bad: f64) -> Self {
        self.base = Colour::Green;
        self.steps = vec![(fair, Colour::Yellow), (bad, Colour::Red)];
        self
    }

    /// The ends of its scale.
    pub(crate) fn between(mut self, low: f64, high: f64) -> Self {
        self.bounds = (Some(low), Some(high));
        self
    }

    /// The upper end of its scale.
    pub(crate) fn up_to(mut self, high: f64) -> Self {
        self.bounds.1 = Some(high);
        self
    }

    /// The scale begins at 0.
    pub(crate) fn zero_based(mut self) -> Self {
        self.bounds.0 = Some(0.0);
        self
    }

    /// Digits after the point.
    pub(crate) fn decimals(mut self, decimals: u32) -> Self {
        self.decimals = Some(decimals);
        self
    }

    /// What stands there while there is nothing to show, for that is no fault.
    pub(crate) fn idle(mut self, text: &'static str) -> Self {
        self.idle = text;
        self
    }

    /// The least time between two points, such as `2m`.
    pub(crate) fn every(mut self, interval: &'static str) -> Self {
        self.interval = Some(interval);
        self
    }
}

/// Panels under one heading. Each stands as high up as it fits, and there as far left.
#[derive(Debug, Clone)]
pub struct Row {
    pub(crate) title: &'static str,
    pub(crate) panels: Vec<Panel>,
}

/// A list at the head of a dashboard to choose label values from: all, or some.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    /// Its name in queries, and the label whose values it offers.
    pub name: &'static str,
    /// The word before it.
    pub label: &'static str,
    /// The family whose series bear the label.
    pub family: &'static str,
}

/// A folder in Grafana, to which permissions are given; and of that name one on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folder {
    /// For everybody.
    Overview,
    /// For those who answer for the service and its cost.
    Business,
    /// For those who run and change it.
    Engineering,
}

impl Folder {
    /// Every folder.
    pub const ALL: [Self; 3] = [Self::Overview, Self::Business, Self::Engineering];

    /// Its name on disk.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Business => "business",
            Self::Engineering => "engineering",
        }
    }
}

/// One dashboard.
#[derive(Debug, Clone)]
pub struct Dashboard {
    /// The folder that it stands in.
    pub folder: Folder,
    /// Its name in addresses and links; never changes.
    pub uid: &'static str,
    /// Its name for people.
    pub title: &'static str,
    pub(crate) english: &'static str,
    pub(crate) japanese: &'static str,
    /// How many hours it looks back at first.
    pub(crate) range_h: u64,
    pub(crate) refresh: &'static str,
    pub(crate) choices: &'static [Choice],
    pub(crate) rows: Vec<Row>,
}

impl Dashboard {
    /// A row under those that stand.
    #[must_use]
    pub(crate) fn row(mut self, title: &'static str, panels: Vec<Panel>) -> Self {
        self.rows.push(Row { title, panels });
        self
    }

    /// The file that it stands in, from `grafana/dashboards/`.
    pub fn file(&self) -> String {
        format!("{}/{}.json", self.folder.name(), self.uid)
    }

    /// The range that it opens with, in seconds.
    pub fn range_s(&self) -> u64 {
        self.range_h * 3_600
    }
}
