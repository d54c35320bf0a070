{{/* Prefix of the names of all objects: with "-operator-metrics" behind it, no longer than a Service's name may be. */}}
{{- define "spillway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 46 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $release := regexReplaceAll "^[0-9]" (.Release.Name | replace "." "-") "r-${0}" -}}{{/* a Service's name has no dot, and a letter first */}}
{{- if contains $name $release -}}
{{- $release | trunc 46 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" $release $name | trunc 46 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Name of the operator's objects, its Lease included. */}}
{{- define "spillway.operator" -}}
{{ include "spillway.fullname" . }}-operator
{{- end -}}

{{/* Name of the bundled Prometheus' objects. */}}
{{- define "spillway.prometheus" -}}
{{ include "spillway.fullname" . }}-prometheus
{{- end -}}

{{- define "spillway.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "spillway.operator" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name must name an existing ServiceAccount when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Labels that select the pods of a component: call with (dict "root" $ "component" "operator"). */}}
{{- define "spillway.selectorLabels" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of every object of a component; further ones: call with (dict "root" $ "component" "operator" "more" .Values.podLabels). Ours win,
then those, then `commonLabels`. No key comes twice, which kustomize, and so Flux, refuses. */}}
{{- define "spillway.labels" -}}
{{- $ours := dict
  "app.kubernetes.io/version" .root.Chart.AppVersion
  "app.kubernetes.io/part-of" "spillway"
  "app.kubernetes.io/managed-by" .root.Release.Service
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
-}}
{{- merge $ours (include "spillway.selectorLabels" . | fromYaml) (default dict .more) (default dict .root.Values.commonLabels) | toYaml -}}
{{- end -}}

{{/* An image's reference: call with (dict "image" .Values.image "default" .Chart.AppVersion). */}}
{{- define "spillway.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ default .default .image.tag }}
{{- end -}}
{{- end -}}

{{/* The names, as a JSON array, in a list of (dict "name" …). */}}
{{- define "spillway.names" -}}
{{- $names := list -}}
{{- range . -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/* Defaults of gateways' pods as a workload's gateway.podTemplate has them, in JSON; empty where there are none. */}}
{{- define "spillway.gatewayPodTemplate" -}}
{{- $found := dict -}}
{{- range $field, $value := dict "labels" "podLabels" "annotations" "podAnnotations" -}}
{{- with index $.Values.gateway $value -}}{{- $_ := set $found $field . -}}{{- end -}}
{{- end -}}
{{- range list "nodeSelector" "tolerations" "affinity" "priorityClassName" -}}
{{- $field := . -}}
{{- with index $.Values.gateway $field -}}{{- $_ := set $found $field . -}}{{- end -}}
{{- end -}}
{{- with $found -}}{{- toJson . -}}{{- end -}}
{{- end -}}

{{/* URL of the Prometheus that the operator asks; empty when there is none. */}}
{{- define "spillway.prometheusURL" -}}
{{- if and .Values.prometheus.url .Values.prometheus.install -}}
{{- fail "set prometheus.url or prometheus.install, not both: Spillway asks one Prometheus" -}}
{{- else if .Values.prometheus.install -}}
http://{{ include "spillway.prometheus" . }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:9090
{{- else -}}
{{- .Values.prometheus.url -}}
{{- end -}}
{{- end -}}

{{/* Nothing; but where what lets the operator in to Prometheus contradicts itself or the URL, it ends with a sentence. */}}
{{- define "spillway.checkPrometheusAccess" -}}
{{- $auth := default dict .Values.prometheus.auth -}}
{{- $ca := default dict .Values.prometheus.ca -}}
{{- $headers := default dict .Values.prometheus.headers -}}
{{- $url := default "" .Values.prometheus.url -}}
{{- if and (or $auth.secret $auth.serviceAccountToken $ca.configMap $ca.secret $headers) (not $url) -}}
{{- fail "prometheus.auth, prometheus.ca and prometheus.headers are for the Prometheus at prometheus.url: set that, or leave them out; the bundled one asks for nothing" -}}
{{- end -}}
{{- if and $auth.secret $auth.serviceAccountToken -}}
{{- fail "set prometheus.auth.secret or prometheus.auth.serviceAccountToken, not both: Prometheus takes one credential" -}}
{{- end -}}
{{- if and $ca.configMap $ca.secret -}}
{{- fail "set prometheus.ca.configMap or prometheus.ca.secret, not both: the authority is in one of them" -}}
{{- end -}}
{{- if and (or $ca.configMap $ca.secret) (not (hasPrefix "https://" $url)) -}}
{{- fail "prometheus.ca is for TLS, which prometheus.url does not have: give it with https://, or leave prometheus.ca out" -}}
{{- end -}}
{{- if and $auth.serviceAccountToken (not (hasPrefix "https://" $url)) -}}
{{- fail "prometheus.auth.serviceAccountToken is sent over TLS only, since whoever reads it can act as the operator: give prometheus.url with https://" -}}
{{- end -}}
{{- range $name, $_ := $headers -}}
{{- if eq (lower $name) "authorization" -}}
{{- fail (printf "prometheus.headers.%s would show a credential to whoever may read Deployments: put it in a Secret, and name that in prometheus.auth.secret" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels, as a JSON array, of each namespace that may scrape; [] when none is known. */}}
{{- define "spillway.scrapeNamespaceLabels" -}}
{{- $host := (urlParse (default "" .Values.prometheus.url)).hostname -}}
{{- $found := list -}}
{{- with .Values.networkPolicy.scrapeNamespaceLabels -}}
{{- $found = append $found . -}}
{{- end -}}
{{- if .Values.prometheus.install -}}
{{- $found = append $found (dict "kubernetes.io/metadata.name" .Release.Namespace) -}}
{{- else if and (not $found) (regexMatch "^[a-z0-9-]+\\.[a-z0-9-]+\\.svc(\\.|$)" $host) -}}
{{- $found = append $found (dict "kubernetes.io/metadata.name" (index (splitList "." $host) 1)) -}}
{{- end -}}
{{- uniq $found | toJson -}}
{{- end -}}

{{/* What the bundled Prometheus may keep: four fifths of its volume, since its log of what is newest comes on top. A full volume ends it. */}}
{{- define "spillway.prometheusRetentionSize" -}}
{{- $size := .Values.prometheus.persistence.size -}}
{{- $unit := regexFind "[A-Za-z]*$" $size -}}
{{- $bytes := dict "" 1.0 "K" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 -}}
{{- printf "%dB" (mulf 0.8 (get $bytes $unit) (trimSuffix $unit $size | float64) | int64) -}}
{{- end -}}

{{/* Both halves of Pod Security "restricted". The user is that of the operator's image, and any number will do for the others. */}}
{{- define "spillway.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}
{{- define "spillway.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
