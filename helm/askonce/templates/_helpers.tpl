{{/*
Names. A name that is cut leaves room for what stands behind it: 63 characters are what a label and a DNS name may have,
52 what a StatefulSet may, whose pods carry a label with eleven more.
*/}}
{{- define "askonce.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "askonce.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The name of a part: `(list . "redis")`, or `(list . "vllm" 52)` for one of another length. */}}
{{- define "askonce.part" -}}
{{- $context := index . 0 -}}
{{- $part := index . 1 -}}
{{- $most := 63 -}}
{{- if gt (len .) 2 }}{{ $most = index . 2 }}{{ end -}}
{{- $room := int (sub $most (add (len $part) 1)) -}}
{{- printf "%s-%s" (include "askonce.fullname" $context | trunc $room | trimSuffix "-") $part -}}
{{- end }}

{{- define "askonce.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "askonce.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{/* Labels of a part: `(list . "proxy")`. The selector's never change over the life of a release. */}}
{{- define "askonce.selectorLabels" -}}
{{- $context := index . 0 -}}
app.kubernetes.io/name: {{ include "askonce.name" $context }}
app.kubernetes.io/instance: {{ $context.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "askonce.labels" -}}
{{- $context := index . 0 -}}
{{ include "askonce.selectorLabels" . }}
app.kubernetes.io/part-of: askonce
app.kubernetes.io/managed-by: {{ $context.Release.Service }}
app.kubernetes.io/version: {{ $context.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" $context.Chart.Name $context.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with $context.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "askonce.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end }}

{{/* "redis" where answers are in Redis, "embedded" where they are in the pod. */}}
{{- define "askonce.store" -}}
{{- if or .Values.redis.internal.enabled .Values.redis.external.url .Values.redis.external.urlKey -}}redis{{- else -}}embedded{{- end -}}
{{- end }}

{{- define "askonce.redisUrl" -}}
{{- if .Values.redis.internal.enabled -}}
redis://{{ include "askonce.part" (list . "redis") }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:6379/0
{{- else -}}
{{ .Values.redis.external.url }}
{{- end -}}
{{- end }}

{{/* `config`, without sections and names that are null: all their names are switched off. */}}
{{- define "askonce.given" -}}
{{- $given := dict -}}
{{- range $name, $value := .Values.config -}}
{{- if kindIs "map" $value -}}
{{- $below := dict -}}
{{- range $inner, $each := $value }}{{ if not (kindIs "invalid" $each) }}{{ $_ := set $below $inner $each }}{{ end }}{{ end -}}
{{- $_ := set $given $name $below -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $_ := set $given $name $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $given -}}
{{- end }}

{{- define "askonce.port" -}}
{{- int (dig "server" "port" 8080 (include "askonce.given" . | fromYaml)) -}}
{{- end }}

{{/* Whether there may be more than one pod. */}}
{{- define "askonce.several" -}}
{{- if or .Values.autoscaling.enabled .Values.keda.enabled (gt (int .Values.replicaCount) 1) -}}true{{- end -}}
{{- end }}

{{- define "askonce.servedModelName" -}}
{{- default .Values.vllm.model .Values.vllm.servedModelName -}}
{{- end }}

{{/* Where a volume with the model is mounted; nothing where the image's own is used. */}}
{{- define "askonce.modelDirectory" -}}
{{- with .Values.modelCache -}}
{{- if ne .source "baked" -}}/opt/askonce/model{{- end -}}
{{- end -}}
{{- end }}

{{/* A variable and no setting, so that it also holds with a ConfigMap of the operator's own. */}}
{{- define "askonce.modelVariable" -}}
{{- if ne .Values.modelCache.source "baked" }}
{{- $embedder := dig "semantic" "embedder" dict (include "askonce.given" . | fromYaml) }}
- name: ASKONCE_SEMANTIC__EMBEDDER__DIRECTORY
  value: {{ $embedder.directory | default (include "askonce.modelDirectory" .) | quote }}
{{- end }}
{{- end }}

{{/*
What the chart knows better than whoever writes the settings, as a tree of them. Merged into `config`, or given as
variables where the settings are a ConfigMap of the operator's own.
*/}}
{{- define "askonce.managed" -}}
server:
  port: {{ include "askonce.port" . }}
  shutdown_delay: {{ int .Values.drain.delay }}s
  drain_timeout: {{ int .Values.drain.longestStream }}s
store:
  data_dir: /var/lib/askonce
  {{- if and (eq (include "askonce.store" .) "redis") (or .Values.redis.internal.enabled (not .Values.redis.external.urlKey)) }}
  url: {{ include "askonce.redisUrl" . | quote }}
  {{- end }}
  {{- with .Values.redis.external.tls }}
  {{- if .existingSecret }}
  redis:
    ca_file: /etc/askonce/secrets/redis/ca.pem
    {{- if .certKey }}
    client_cert_file: /etc/askonce/secrets/redis/certificate.pem
    client_key_file: /etc/askonce/secrets/redis/key.pem
    {{- end }}
  {{- end }}
  {{- end }}
{{- end }}

{{/* Variables of a tree of settings: `(list "ASKONCE_" tree)`. */}}
{{- define "askonce.asVariables" -}}
{{- $prefix := index . 0 -}}
{{- range $name, $value := index . 1 }}
{{- if kindIs "map" $value }}
{{- include "askonce.asVariables" (list (printf "%s%s__" $prefix (upper $name)) $value) }}
{{- else }}
- name: {{ $prefix }}{{ upper $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* The upstream of the chart's vLLM: one address for each pod, the first pod's first. */}}
{{- define "askonce.vllmUpstream" -}}
{{- $name := include "askonce.part" (list . "vllm" 52) -}}
name: local
kind: vllm
base_url:
  {{- range $ordinal := until (int .Values.vllm.replicas) }}
  - http://{{ $name }}-{{ $ordinal }}.{{ $name }}.{{ $.Release.Namespace }}.svc.{{ $.Values.clusterDomain }}:8000/v1
  {{- end }}
models:
  {{- toYaml (.Values.vllm.upstream.models | default (list (include "askonce.servedModelName" .))) | nindent 2 }}
{{- if .Values.vllm.apiKey.existingSecret }}
api_key_file: /etc/askonce/secrets/upstreams/local
{{- else }}
credential: none
{{- end }}
{{- end }}

{{/* The settings as they stand in askonce.yaml. */}}
{{- define "askonce.settings" -}}
{{- $settings := include "askonce.given" . | fromYaml -}}
{{- $settings = mergeOverwrite $settings (include "askonce.managed" . | fromYaml) -}}
{{- with $settings.semantic -}}
{{- if kindIs "bool" .mode }}{{- $_ := set . "mode" (ternary "on" "off" .mode) -}}{{ end -}}
{{- end -}}
{{- if .Values.secrets.embedder.existingSecret -}}
{{- $settings = mergeOverwrite $settings (dict "semantic" (dict "embedder" (dict "api_key_file" "/etc/askonce/secrets/embedder"))) -}}
{{- end -}}
{{- if .Values.secrets.llmJudge.existingSecret -}}
{{- $settings = mergeOverwrite $settings (dict "semantic" (dict "llm_judge" (dict "api_key_file" "/etc/askonce/secrets/llm-judge"))) -}}
{{- end -}}
{{- $upstreams := list -}}
{{- range $settings.upstreams -}}
{{- $upstream := . -}}
{{- if hasKey $.Values.secrets.upstreams ($upstream.name | default "openai") -}}
{{- $_ := set $upstream "api_key_file" (printf "/etc/askonce/secrets/upstreams/%s" ($upstream.name | default "openai")) -}}
{{- end -}}
{{- $upstreams = append $upstreams $upstream -}}
{{- end -}}
{{- if .Values.vllm.enabled -}}
{{- $local := mergeOverwrite (include "askonce.vllmUpstream" . | fromYaml) (deepCopy .Values.vllm.upstream.settings) -}}
{{- if eq .Values.vllm.upstream.position "first" -}}
{{- $upstreams = prepend $upstreams $local -}}
{{- else -}}
{{- $upstreams = append $upstreams $local -}}
{{- end -}}
{{- end -}}
{{- $_ := set $settings "upstreams" $upstreams -}}
{{- toYaml $settings -}}
{{- end }}

{{/* Secrets that are files, as sources of one projected volume. */}}
{{- define "askonce.secretFiles" -}}
{{- range $name, $from := .Values.secrets.upstreams }}
- secret:
    name: {{ $from.existingSecret }}
    items:
      - {key: {{ $from.key | default "api-key" | quote }}, path: {{ printf "upstreams/%s" $name | quote }}}
{{- end }}
{{- if and .Values.vllm.enabled .Values.vllm.apiKey.existingSecret }}
- secret:
    name: {{ .Values.vllm.apiKey.existingSecret }}
    items:
      - {key: {{ .Values.vllm.apiKey.key | quote }}, path: upstreams/local}
{{- end }}
{{- with .Values.secrets.embedder }}
{{- if .existingSecret }}
- secret:
    name: {{ .existingSecret }}
    items:
      - {key: {{ .key | quote }}, path: embedder}
{{- end }}
{{- end }}
{{- with .Values.secrets.llmJudge }}
{{- if .existingSecret }}
- secret:
    name: {{ .existingSecret }}
    items:
      - {key: {{ .key | quote }}, path: llm-judge}
{{- end }}
{{- end }}
{{- with .Values.redis.external.tls }}
{{- if .existingSecret }}
- secret:
    name: {{ .existingSecret }}
    items:
      - {key: {{ .caKey | quote }}, path: redis/ca.pem}
      {{- if .certKey }}
      - {key: {{ .certKey | quote }}, path: redis/certificate.pem}
      - {key: {{ .keyKey | quote }}, path: redis/key.pem}
      {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* One variable from a Secret: `(list "NAME" "secret" "key")`. */}}
{{- define "askonce.variableFrom" }}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 1 }}
      key: {{ index . 2 }}
{{- end }}

{{- define "askonce.environment" -}}
- name: ASKONCE_CONFIG
  value: /etc/askonce/askonce.yaml
- name: ASKONCE_SERVER__HOST
  value: {{ dig "server" "host" "0.0.0.0" (include "askonce.given" . | fromYaml) | quote }}
# ONNX Runtime reports home unless this is set before it is imported.
- name: ORT_DISABLE_TELEMETRY
  value: "1"
{{- include "askonce.modelVariable" . }}
{{- if .Values.existingConfigMap }}
{{- include "askonce.asVariables" (list "ASKONCE_" (include "askonce.managed" . | fromYaml)) }}
{{- end }}
{{- with .Values.redis }}
{{- if and .internal.enabled .internal.auth.enabled }}
{{- include "askonce.variableFrom" (list "ASKONCE_STORE__REDIS__PASSWORD" .internal.auth.existingSecret .internal.auth.key) }}
{{- else if .external.existingSecret }}
{{- if .external.urlKey }}
{{- include "askonce.variableFrom" (list "ASKONCE_STORE__URL" .external.existingSecret .external.urlKey) }}
{{- else if .external.passwordKey }}
{{- include "askonce.variableFrom" (list "ASKONCE_STORE__REDIS__PASSWORD" .external.existingSecret .external.passwordKey) }}
{{- end }}
{{- if .external.sentinelPasswordKey }}
{{- include "askonce.variableFrom" (list "ASKONCE_STORE__REDIS__SENTINEL_PASSWORD" .external.existingSecret .external.sentinelPasswordKey) }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.secrets.server }}
{{- if .existingSecret }}
{{- include "askonce.variableFrom" (list "ASKONCE_SERVER__SECRET" .existingSecret .key) }}
{{- end }}
{{- end }}
{{- with .Values.secrets.admin }}
{{- if .existingSecret }}
{{- include "askonce.variableFrom" (list "ASKONCE_ADMIN_TOKEN" .existingSecret .key) }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Where pods may run, of values that have it. */}}
{{- define "askonce.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
