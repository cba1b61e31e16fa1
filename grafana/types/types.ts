// What the committed dashboards are held against: the dashboard as a whole, and by kind of panel its options and the
// settings of its fields, which the whole leaves open. A JSON Schema is made of `Shown`.
import type { Dashboard, GraphFieldConfig } from '@grafana/schema';
import type { Options as BarGauge } from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type { Options as Gauge } from '@grafana/schema/dist/esm/raw/composable/gauge/panelcfg/x/GaugePanelCfg_types.gen';
import type { Options as Stat } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type {
  FieldConfig as StateTimelineField,
  Options as StateTimeline,
} from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type {
  FieldConfig as TableField,
  Options as Table,
} from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type { Options as TimeSeries } from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

export interface Shown {
  dashboard: Dashboard;
  options: {
    bargauge: BarGauge[];
    gauge: Gauge[];
    stat: Stat[];
    'state-timeline': StateTimeline[];
    table: Table[];
    timeseries: TimeSeries[];
  };
  custom: {
    bargauge: Record<string, never>[];
    gauge: Record<string, never>[];
    stat: Record<string, never>[];
    'state-timeline': StateTimelineField[];
    table: TableField[];
    timeseries: GraphFieldConfig[];
  };
}
