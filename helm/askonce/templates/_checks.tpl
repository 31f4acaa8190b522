{{/*
What contradicts itself, refused before anything is made, each with what to do. What a schema can see is in
values.schema.json.
*/}}
{{- define "askonce.checks" -}}
{{- if and .Values.redis.internal.enabled (or .Values.redis.external.url .Values.redis.external.urlKey) -}}
{{- fail "redis.internal.enabled and redis.external: there are two Redis to choose from; leave one of them out" -}}
{{- end -}}
{{- if and .Values.redis.external.url .Values.redis.external.urlKey -}}
{{- fail "redis.external.url and redis.external.urlKey: the address is given twice; leave one of them out" -}}
{{- end -}}
{{- if and .Values.redis.external.urlKey (not .Values.redis.external.existingSecret) -}}
{{- fail "redis.external.urlKey is a key of a Secret: name the Secret in redis.external.existingSecret" -}}
{{- end -}}
{{- with .Values.redis.external.tls -}}
{{- if ne (empty .certKey) (empty .keyKey) -}}
{{- fail "redis.external.tls.certKey and keyKey belong together: set both or neither" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.redis.internal.enabled .Values.redis.internal.auth.enabled (not .Values.redis.internal.auth.existingSecret) -}}
{{- fail (printf "redis.internal needs a password: kubectl create secret generic askonce-redis --namespace %s --from-literal=redis-password=\"$(openssl rand -hex 24)\", then set redis.internal.auth.existingSecret=askonce-redis; or turn redis.internal.auth.enabled off" .Release.Namespace) -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled .Values.keda.enabled -}}
{{- fail "autoscaling.enabled and keda.enabled: both would set the number of pods; turn one of them off" -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled -}}
{{- fail "metrics.serviceMonitor.enabled and metrics.podMonitor.enabled: every pod would be scraped twice; turn one of them off" -}}
{{- end -}}
{{- range $name := list "autoscaling" "keda" -}}
{{- $scaling := index $.Values $name -}}
{{- if and $scaling.enabled (lt (int $scaling.maxReplicas) (int $scaling.minReplicas)) -}}
{{- fail (printf "%s.maxReplicas is %d and minReplicas is %d: the most cannot be fewer than the fewest" $name (int $scaling.maxReplicas) (int $scaling.minReplicas)) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (not .Values.autoscaling.targetCPUUtilizationPercentage) (not .Values.autoscaling.customMetrics) -}}
{{- fail "autoscaling.enabled needs something to go by: set autoscaling.targetCPUUtilizationPercentage or autoscaling.customMetrics" -}}
{{- end -}}
{{- if and .Values.keda.enabled (not .Values.keda.prometheus.serverAddress) (not .Values.keda.triggers) -}}
{{- fail "keda.enabled needs something to go by: set keda.prometheus.serverAddress or keda.triggers" -}}
{{- end -}}
{{- include "askonce.checkStore" . -}}
{{- include "askonce.checkConfig" . -}}
{{- include "askonce.checkModel" . -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.enabled needs ingress.hosts: [{host: llm.example, paths: [{path: /v1, pathType: Prefix}]}]" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled needs httpRoute.parentRefs: the gateways it belongs to" -}}
{{- end -}}
{{- if and .Values.vllm.enabled (not .Values.vllm.model) -}}
{{- fail "vllm.enabled needs vllm.model: a name on the hub, or a path below /models" -}}
{{- end -}}
{{- end }}

{{- define "askonce.checkStore" -}}
{{- $config := include "askonce.given" . | fromYaml -}}
{{- if eq (include "askonce.store" .) "embedded" -}}
{{- if gt (int .Values.replicaCount) 1 -}}
{{- fail (printf "replicaCount is %d and the store is the embedded one, which belongs to one process: set redis.external.url (or redis.internal.enabled) so that replicas share a Redis, or replicaCount=1" (int .Values.replicaCount)) -}}
{{- end -}}
{{- if or .Values.autoscaling.enabled .Values.keda.enabled -}}
{{- fail "autoscaling needs replicas that share a Redis, and the store is the embedded one: set redis.external.url, or redis.internal.enabled" -}}
{{- end -}}
{{- if gt (int (dig "server" "workers" 1 $config)) 1 -}}
{{- fail "config.server.workers above 1 needs Redis, and the store is the embedded one, which belongs to one process: set redis.external.url, or redis.internal.enabled" -}}
{{- end -}}
{{- else -}}
{{- if .Values.persistence.enabled -}}
{{- fail "persistence.enabled is for the embedded store; with Redis nothing is kept on the pods' disks: turn it off (redis.internal.persistence is that of the chart's Redis)" -}}
{{- end -}}
{{- if dig "store" "url" "" $config -}}
{{- fail "config.store.url and redis: the store is chosen twice; leave config.store.url out" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "askonce.checkConfig" -}}
{{- $config := include "askonce.given" . | fromYaml -}}
{{- $server := $config.server | default dict -}}
{{- range $name, $seconds := dict "drain_timeout" .Values.drain.longestStream "shutdown_delay" .Values.drain.delay -}}
{{- if hasKey $server $name -}}
{{- $given := toString (index $server $name) -}}
{{- if not (has $given (list (toString (int $seconds)) (printf "%ds" (int $seconds)))) -}}
{{- fail (printf "config.server.%s is %s, and drain says %ds: leave it out and set drain.%s, because the pod's grace period follows it" $name $given (int $seconds) (ternary "longestStream" "delay" (eq $name "drain_timeout"))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if has (toString $server.host) (list "127.0.0.1" "localhost" "::1") -}}
{{- fail (printf "config.server.host is %s: nothing outside of the pod could reach it; leave it out (0.0.0.0), or set \"::\"" $server.host) -}}
{{- end -}}
{{- if and (not .Values.existingConfigMap) (not .Values.vllm.enabled) (not $config.upstreams) -}}
{{- fail "config.upstreams is empty: name an upstream, or set vllm.enabled" -}}
{{- end -}}
{{- $names := list -}}
{{- range $config.upstreams }}{{ $names = append $names (.name | default "openai") }}{{ end -}}
{{- if and .Values.vllm.enabled (has "local" $names) -}}
{{- fail "config.upstreams has one called local, which is the name of the chart's vLLM: give it another name" -}}
{{- end -}}
{{- range $name, $_ := .Values.secrets.upstreams -}}
{{- if and (not $.Values.existingConfigMap) (not (has $name $names)) -}}
{{- fail (printf "secrets.upstreams.%s: no upstream of config.upstreams is called that; there are: %s (the key of the chart's vLLM is vllm.apiKey)" $name (join ", " $names)) -}}
{{- end -}}
{{- if and $.Values.vllm.enabled (eq $name "local") -}}
{{- fail "secrets.upstreams.local: the key of the chart's vLLM is vllm.apiKey" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "askonce.checkModel" -}}
{{- with .Values.modelCache -}}
{{- if and (eq .source "existingClaim") (not .existingClaim) -}}
{{- fail "modelCache.source is existingClaim: name the claim in modelCache.existingClaim" -}}
{{- end -}}
{{- if and (eq .source "emptyDir") (not .fetch.baseUrl) (not $.Values.initContainers) -}}
{{- fail "modelCache.source is emptyDir, and nothing fills it: set modelCache.fetch.baseUrl, or an init container of your own that mounts the volume `model`" -}}
{{- end -}}
{{- if and .fetch.baseUrl (not (has .source (list "pvc" "emptyDir"))) -}}
{{- fail (printf "modelCache.fetch.baseUrl is for the sources pvc and emptyDir, and modelCache.source is %s" .source) -}}
{{- end -}}
{{- end -}}
{{- end }}
