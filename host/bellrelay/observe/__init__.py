"""What people look at: metrics' meaning, SLOs, alerts, dashboards, the live view, reports."""
