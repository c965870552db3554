{{/* What pods have in common. */}}

{{/* Fields of a pod's spec. Call it with (dict "root" $ "component" "api" "values" …), values with nodeSelector and tolerations or none. */}}
{{- define "jobmon.pod" -}}
{{- $root := .root -}}
{{- $pods := $root.Values.pods -}}
{{- $values := .values | default dict -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .runAsUser | default $pods.runAsUser }}
  runAsGroup: {{ .runAsUser | default $pods.runAsUser }}
  fsGroup: {{ .runAsUser | default $pods.runAsUser }}
  seccompProfile: { type: RuntimeDefault }
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with $pods.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with merge (dict) ($values.nodeSelector | default dict) ($pods.nodeSelector | default dict) }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with concat ($values.tolerations | default list) $pods.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $pods.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Over hosts and zones, where there are several. Call it with (list $ "api"). */}}
{{- define "jobmon.spread" -}}
{{- $selector := include "jobmon.selector" . -}}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ $selector | nindent 8 }}
  {{- end }}
{{- end -}}

{{/* Of every container. */}}
{{- define "jobmon.security" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end -}}

{{/* Labels of a pod, besides those that select it. Call it with (list $ "reaper-0-9-0" version "reaper"). */}}
{{- define "jobmon.podLabels" -}}
{{ include "jobmon.labels" . }}
jobmon/process: {{ index . 3 }}
{{- with (index . 0).Values.pods.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* One environment variable with a text, and one from a secret. As JSON a number is written out: 20000000, not 2e+07. */}}
{{- define "jobmon.env" }}
{{- $value := index . 1 }}
- { name: {{ index . 0 | quote }}, value: {{ kindIs "float64" $value | ternary (toJson $value) (toString $value) | quote }} }
{{- end -}}
{{- define "jobmon.secretEnv" }}
- name: {{ index . 0 | quote }}
  valueFrom: { secretKeyRef: { name: {{ index . 1 | quote }}, key: {{ index . 2 }} } }
{{- end -}}

{{/* The database, for the account app or migrate. Call it with (dict "root" $ "account" "app" "connections" 4). */}}
{{- define "jobmon.databaseEnv" -}}
{{- $database := .root.Values.database -}}
{{- $user := eq .account "app" | ternary $database.user $database.migrateUser -}}
{{- include "jobmon.env" (list "JOBMON__DB__URL" (include "jobmon.databaseUrl" .root)) }}
{{- include "jobmon.env" (list "JOBMON__DB__USER" $user) }}
{{- include "jobmon.secretEnv" (list "JOBMON__DB__PASSWORD" (include "jobmon.databaseSecret" .root) (printf "%s-password" .account)) }}
{{- include "jobmon.env" (list "JOBMON__DB__CONNECTIONS_MAX" .connections) }}
{{- if $database.tls.existingSecret }}
{{- include "jobmon.env" (list "JOBMON__DB__TLS_CA_FILE" "/etc/jobmon/database-tls/ca.crt") }}
{{- end }}
{{- end -}}

{{/* The authority of the database's certificate in a container that talks to it, and the volume of its pod. Call them with the root. */}}
{{- define "jobmon.databaseMount" -}}
{{- if .Values.database.tls.existingSecret }}
- { name: database-tls, mountPath: /etc/jobmon/database-tls, readOnly: true }
{{- end }}
{{- end -}}
{{- define "jobmon.databaseVolume" -}}
{{- with .Values.database.tls.existingSecret }}
- { name: database-tls, secret: { secretName: {{ . | quote }}, defaultMode: 0440, items: [{ key: ca.crt, path: ca.crt }] } }
{{- end }}
{{- end -}}

{{/* The bus, for one service. Call it with (list $ "state-machine"). */}}
{{- define "jobmon.natsEnv" -}}
{{- $root := index . 0 -}}
{{- $process := index . 1 -}}
{{- include "jobmon.env" (list "JOBMON__NATS__URL" (include "jobmon.natsUrl" $root)) }}
{{- with include "jobmon.natsSecret" $root }}
{{- include "jobmon.env" (list "JOBMON__NATS__USER" $process) }}
{{- include "jobmon.secretEnv" (list "JOBMON__NATS__PASSWORD" . $process) }}
{{- end }}
{{- with $root.Values.nats.tls }}
{{- if .existingSecret }}
{{- include "jobmon.env" (list "JOBMON__NATS__TLS_CA_FILE" "/etc/jobmon/nats-tls/ca.crt") }}
{{- end }}
{{- if .clientCertificate }}
{{- include "jobmon.env" (list "JOBMON__NATS__TLS_CERT_FILE" "/etc/jobmon/nats-tls/tls.crt") }}
{{- include "jobmon.env" (list "JOBMON__NATS__TLS_KEY_FILE" "/etc/jobmon/nats-tls/tls.key") }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What only the api is told: who it is, and who may do what. */}}
{{- define "jobmon.apiEnv" -}}
{{- $name := include "jobmon.name" (list . "api") -}}
{{- $inside := printf "%s.%s" $name .Release.Namespace -}}
{{- $hosts := list $name $inside (printf "%s.svc" $inside) (printf "%s.svc.%s" $inside .Values.clusterDomain) -}}
{{- $hosts = concat $hosts (compact (list .Values.route.host)) .Values.api.hosts -}}
{{- $login := .Values.login -}}
{{- include "jobmon.env" (list "JOBMON__HTTP__HOST" "0.0.0.0") }}
{{- include "jobmon.env" (list "JOBMON__HTTP__PORT" 8070) }}
{{- include "jobmon.env" (list "JOBMON__HTTP__ALLOWED_HOSTS" (join "," $hosts)) }}
{{- include "jobmon.env" (list "JOBMON__AUTH__MODE" $login.mode) }}
{{- if eq $login.mode "off" }}
{{- include "jobmon.env" (list "JOBMON__HTTP__OPEN" $login.open) }}
{{- include "jobmon.secretEnv" (list "JOBMON__HTTP__TOKEN" $login.existingSecret "token") }}
{{- else }}
{{- with $login.issuer }}
{{- include "jobmon.env" (list "JOBMON__AUTH__ISSUER" .) }}
{{- include "jobmon.env" (list "JOBMON__AUTH__CLIENT_ID" $login.clientId) }}
{{- include "jobmon.env" (list "JOBMON__AUTH__USER_CLAIM" $login.userClaim) }}
{{- include "jobmon.env" (list "JOBMON__AUTH__ROLE_CLAIM" $login.roleClaim) }}
{{- include "jobmon.env" (list "JOBMON__AUTH__DEFAULT_ROLE" $login.defaultRole) }}
{{- end }}
{{- with $login.audience }}{{ include "jobmon.env" (list "JOBMON__AUTH__AUDIENCE" .) }}{{ end }}
{{- with $login.roles }}{{ include "jobmon.env" (list "JOBMON__AUTH__ROLES" (join "," .)) }}{{ end }}
{{- with $login.pythonPort }}{{ include "jobmon.env" (list "JOBMON__AUTH__PYTHON_PORT" .) }}{{ end }}
{{- with $login.pythonNetworks }}{{ include "jobmon.env" (list "JOBMON__AUTH__PYTHON_NETWORKS" (join "," .)) }}{{ end }}
{{- end }}
{{- end -}}
