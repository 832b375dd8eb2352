// Draws the dashboard with Grafana's own panels, from a file of loadtests/dashboard.py in window.DASHBOARD.
import {
  EventBusSrv, FieldColorModeId, FieldConfigOptionsRegistry, FieldType, ThemeContext, applyFieldOverrides, createTheme,
  dateTime, toDataFrame,
} from '@grafana/data';
import { GlobalStyles, PanelChrome, PanelContextProvider, TimeSeries } from '@grafana/ui';
import React from 'react';
import { createRoot } from 'react-dom/client';

const CELL = { width: 60, height: 36 }; // one of the dashboard's grid of 24 columns, in pixels
const theme = createTheme({ colors: { mode: 'light' } });
// What Grafana's time series panel sets where a dashboard says nothing.
const DEFAULTS = { color: { mode: FieldColorModeId.PaletteClassic } };
const CUSTOM = {
  drawStyle: 'line', lineInterpolation: 'linear', lineWidth: 1, fillOpacity: 0, gradientMode: 'none',
  showPoints: 'auto', pointSize: 5, spanNulls: false, axisPlacement: 'auto', axisColorMode: 'text',
  axisCenteredZero: false, scaleDistribution: { type: 'linear' }, stacking: { group: 'A', mode: 'none' },
  hideFrom: { viz: false, legend: false, tooltip: false }, thresholdsStyle: { mode: 'off' },
};
// The options that a dashboard may set, by which Grafana reads its fieldConfig.
const names = ['unit', 'min', 'max', 'decimals', 'color', ...Object.keys(CUSTOM).map((name) => `custom.${name}`)];
const registry = new FieldConfigOptionsRegistry(() => names.map((id) => ({
  id, name: id, path: id.replace('custom.', ''), isCustom: id.startsWith('custom.'),
  process: (value) => value, shouldApply: () => true,
})));

const legend = (format, labels) => format.replace(/{{(\w+)}}/g, (_, name) => labels[name] ?? '');

function frame(target, { metric, values }) {
  const numbers = values.map(([, value]) => (value === 'NaN' ? null : Number(value)));
  const config = { displayNameFromDS: legend(target.legendFormat, metric) };
  return toDataFrame({
    fields: [
      { name: 'Time', type: FieldType.time, values: values.map(([seconds]) => seconds * 1000) },
      { name: 'Value', type: FieldType.number, labels: metric, values: numbers, config },
    ],
  });
}

function frames(panel) {
  const { defaults, overrides } = panel.fieldConfig;
  const custom = { ...CUSTOM, ...defaults.custom, stacking: { ...CUSTOM.stacking, ...defaults.custom.stacking } };
  const data = applyFieldOverrides({
    data: panel.targets.flatMap((target) => target.result.map((series) => frame(target, series))),
    fieldConfig: { defaults: { ...DEFAULTS, ...defaults, custom }, overrides },
    fieldConfigRegistry: registry, replaceVariables: (text) => text, theme, timeZone: 'utc',
  });
  data.forEach(({ fields }, i) => fields.forEach((field) => { field.state = { ...field.state, seriesIndex: i }; }));
  return data;
}

function Panel({ panel, range }) {
  const { x, y, w, h } = panel.gridPos;
  const data = frames(panel);
  return (
    <div style={{ position: 'absolute', left: x * CELL.width, top: y * CELL.height }}>
      <PanelChrome title={panel.title} description={panel.description} width={w * CELL.width - 8} height={h * CELL.height - 8}>
        {(width, height) => (data.length === 0 ? <center>No data</center> : (
          <TimeSeries frames={data} timeRange={range} timeZone="utc" width={width} height={height} structureRev={1}
            legend={{ showLegend: true, calcs: [], ...panel.options.legend }} />
        ))}
      </PanelChrome>
    </div>
  );
}

const { panels } = window.DASHBOARD;
const values = panels.flatMap(({ targets }) => targets).flatMap(({ result }) => result).flatMap((series) => series.values);
const times = values.map(([seconds]) => seconds * 1000);
const [from, to] = [dateTime(Math.min(...times)), dateTime(Math.max(...times))];
const range = { from, to, raw: { from, to } };
createRoot(document.getElementById('root')).render(
  <ThemeContext.Provider value={theme}>
    <GlobalStyles />
    <PanelContextProvider value={{ eventsScope: 'global', eventBus: new EventBusSrv() }}>
      {panels.map((panel) => <Panel key={panel.id} panel={panel} range={range} />)}
    </PanelContextProvider>
  </ThemeContext.Provider>,
);
