{{/* Names, labels and images: each is said here once. */}}

{{/*
Name of an object: release and suffix, at most 63 characters. A release that is too long is cut and told from others by a hash of it.
Call it with (list $ "api").
*/}}
{{- define "jobmon.name" -}}
{{- $release := (index . 0).Release.Name -}}
{{- $suffix := index . 1 -}}
{{- $full := printf "%s-%s" $release $suffix -}}
{{- if le (len $full) 63 -}}
{{- $full -}}
{{- else -}}
{{- printf "%s-%s-%s" (trunc (sub 53 (len $suffix) | int) $release | trimSuffix "-" | trimSuffix ".") (sha256sum $release | trunc 8) $suffix -}}
{{- end -}}
{{- end -}}

{{/* A version as a part of names: 0.9.0+b1 becomes 0-9-0-b1; a long one is told by its hash. */}}
{{- define "jobmon.slug" -}}
{{- $slug := regexReplaceAll "[^a-z0-9]+" (lower .) "-" | trimAll "-" -}}
{{- if gt (len $slug) 14 }}{{ printf "%s-%s" (trunc 7 $slug | trimSuffix "-") (sha256sum . | trunc 6) }}{{ else }}{{ $slug }}{{ end -}}
{{- end -}}

{{/* What pods are selected by; these never change. Call it with (list $ "api"). */}}
{{- define "jobmon.selector" -}}
app.kubernetes.io/name: jobmon
app.kubernetes.io/instance: {{ (index . 0).Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of an object. Call it with (list $ "api" tag). */}}
{{- define "jobmon.labels" -}}
{{- $root := index . 0 -}}
{{ include "jobmon.selector" . }}
app.kubernetes.io/part-of: jobmon
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/version: {{ regexReplaceAll "[^A-Za-z0-9_.-]" (include "jobmon.tag" (list $root (index . 2))) "_" | trunc 63 | trimAll "-_." | quote }}
helm.sh/chart: {{ printf "jobmon-%s" $root.Chart.Version | replace "+" "_" | trunc 63 }}
{{- end -}}

{{/* The tag that is meant by a version, which may be empty. Call it with (list $ version). */}}
{{- define "jobmon.tag" -}}
{{- $root := index . 0 -}}
{{- index . 1 | default $root.Values.image.tag | default $root.Chart.AppVersion -}}
{{- end -}}

{{/* An image of ours. Call it with (list $ "state-machine" version). */}}
{{- define "jobmon.image" -}}
{{- $root := index . 0 -}}
{{- $process := index . 1 -}}
{{- $image := printf "%s/jobmon/%s" (trimSuffix "/" $root.Values.image.registry) $process -}}
{{- $digest := get $root.Values.image.digests $process -}}
{{- if and $digest (not (index . 2)) -}}
{{ printf "%s@%s" $image $digest }}
{{- else -}}
{{ printf "%s:%s" $image (include "jobmon.tag" (list $root (index . 2))) }}
{{- end -}}
{{- end -}}

{{/*
The services, as a JSON list of {component, process, version, values}: component names objects, process is the image and the account on the bus.
A reaper is what `reaper` says, and what its entry says besides.
*/}}
{{- define "jobmon.services" -}}
{{- $services := list
  (dict "component" "api" "process" "api" "version" "" "values" .Values.api)
  (dict "component" "state-machine" "process" "state-machine" "version" "" "values" .Values.stateMachine)
  (dict "component" "scheduler" "process" "scheduler" "version" "" "values" .Values.scheduler)
  (dict "component" "log-sink" "process" "log-sink" "version" "" "values" .Values.logSink) -}}
{{- range .Values.reapers -}}
{{- $component := empty .version | ternary "reaper" (printf "reaper-%s" (include "jobmon.slug" .version)) -}}
{{- $services = append $services (dict "component" $component "process" "reaper" "version" .version "values" (mergeOverwrite (deepCopy $.Values.reaper) .)) -}}
{{- end -}}
{{ toJson $services }}
{{- end -}}

{{/* Secrets with the passwords: the given ones, else those that the chart makes for what is built in. */}}
{{- define "jobmon.databaseSecret" -}}
{{ .Values.database.existingSecret | default (include "jobmon.name" (list . "database")) }}
{{- end -}}
{{- define "jobmon.natsSecret" -}}
{{- if or .Values.nats.existingSecret .Values.nats.builtIn.enabled -}}
{{ .Values.nats.existingSecret | default (include "jobmon.name" (list . "nats")) }}
{{- end -}}
{{- end -}}

{{/* Where database and bus are. */}}
{{- define "jobmon.databaseUrl" -}}
{{- $database := .Values.database -}}
{{- if $database.builtIn.enabled -}}
mariadb://{{ include "jobmon.name" (list . "database") }}:3306/{{ $database.name }}
{{- else -}}
mariadb://{{ contains ":" $database.host | ternary (printf "[%s]" $database.host) $database.host }}:{{ $database.port }}/{{ $database.name }}
{{- end -}}
{{- end -}}
{{- define "jobmon.natsUrl" -}}
{{- if .Values.nats.builtIn.enabled -}}nats://{{ include "jobmon.name" (list . "nats") }}:4222{{- else -}}{{ .Values.nats.url }}{{- end -}}
{{- end -}}
