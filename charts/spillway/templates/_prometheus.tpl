{{/* Configuration of the bundled Prometheus. What it scrapes, and with which labels, is what the PodMonitor says in its own words. */}}
{{- define "spillway.prometheusConfig" -}}
global:
  scrape_interval: {{ .Values.prometheus.scrapeInterval }}
  scrape_timeout: {{ .Values.prometheus.scrapeInterval }}
  evaluation_interval: 15s
rule_files: [rules.yaml]
scrape_configs:
  - job_name: spillway-workloads
    # Of one pod; the PodMonitor says it, too. A gateway that tells 10,000 clients apart has some 60,000 series. Who may set an engine's image
    # may have it tell millions, which all end up in memory here and in the operator's.
    sample_limit: 100000
    body_size_limit: 64MB
    kubernetes_sd_configs:
      - role: pod
        selectors:
          - role: pod
            label: spillway.dev/workload
    relabel_configs:
      - source_labels: [__meta_kubernetes_pod_label_app_kubernetes_io_component, __meta_kubernetes_pod_container_port_name]
        regex: engine;http|gateway;metrics
        action: keep
      - source_labels: [__meta_kubernetes_pod_phase]
        regex: Succeeded|Failed
        action: drop
      {{- include "spillway.workloadRelabelings" (dict "source" "source_labels" "target" "target_label") | nindent 6 }}
  - job_name: spillway-operator
    # The operator's series name the workload's namespace; it must not be lost to the operator's own.
    honor_labels: true
    kubernetes_sd_configs:
      - role: pod
        namespaces:
          names: [{{ .Release.Namespace | quote }}]
        selectors:
          - role: pod
            label: app.kubernetes.io/name={{ .Chart.Name }},app.kubernetes.io/instance={{ .Release.Name }},app.kubernetes.io/component=operator
    relabel_configs:
      - source_labels: [__meta_kubernetes_pod_container_port_name]
        regex: metrics
        action: keep
      - source_labels: [__meta_kubernetes_namespace]
        target_label: namespace
      - source_labels: [__meta_kubernetes_pod_name]
        target_label: pod
      - target_label: component
        replacement: operator
  {{- if .Values.prometheus.dcgm.enabled }}
  {{- $selector := list }}
  {{- range $key, $value := .Values.prometheus.dcgm.podLabels }}
  {{- $selector = append $selector (printf "%s=%s" $key $value) }}
  {{- end }}
  - job_name: dcgm
    # The exporter's `namespace` and `pod` are those of the pod that uses the GPU.
    honor_labels: true
    kubernetes_sd_configs:
      - role: pod
        selectors:
          - role: pod
            label: {{ join "," $selector }}
    relabel_configs:
      - source_labels: [__meta_kubernetes_pod_container_port_name]
        regex: {{ .Values.prometheus.dcgm.portName }}
        action: keep
    metric_relabel_configs:
      - source_labels: [__name__]
        regex: DCGM_FI_DEV_GPU_UTIL|DCGM_FI_DEV_FB_USED|DCGM_FI_DEV_FB_FREE|DCGM_FI_PROF_GR_ENGINE_ACTIVE
        action: keep
  {{- end }}
{{- end -}}

{{/* Recording rules and alerts, for a PrometheusRule and for the bundled Prometheus. */}}
{{- define "spillway.rules" -}}
{{- $url := .Values.prometheusRule.runbookURL | trimSuffix "/" -}}
{{- .Files.Get "rules/spillway.yaml" | replace "https://spillway.dev/docs/runbooks" $url -}}
{{- end -}}
