{{/* What does not fit together is refused here, all of it at once, each with its cure. Single values are the schema's matter. */}}
{{- define "jobmon.check" -}}
{{- $problems := list -}}
{{- $namespace := .Release.Namespace -}}
{{- with .Values -}}

{{- if not .image.registry -}}
{{- $problems = append $problems "image.registry is missing: name the registry that you pushed the images to, as registry.example.org:5000/research" -}}
{{- end -}}

{{- if not .database.builtIn.enabled -}}
{{- if not .database.host -}}
{{- $problems = append $problems "database.host is missing: name your MariaDB, or set database.builtIn.enabled=true to try Jobmon out" -}}
{{- end -}}
{{- if not .database.existingSecret -}}
{{- $problems = append $problems (printf "database.existingSecret is missing: kubectl -n %s create secret generic jobmon-database --from-literal=app-password=… --from-literal=migrate-password=…, then set database.existingSecret=jobmon-database" $namespace) -}}
{{- end -}}
{{- else if .database.host -}}
{{- $problems = append $problems (printf "database.host (%s) and database.builtIn.enabled=true exclude each other: keep one of them" .database.host) -}}
{{- end -}}

{{- if and .database.builtIn.enabled .database.tls.existingSecret -}}
{{- $problems = append $problems "database.tls.existingSecret is for a MariaDB of your own: the one of database.builtIn speaks no TLS" -}}
{{- end -}}

{{- if and (not .nats.builtIn.enabled) (not .nats.url) -}}
{{- $problems = append $problems "nats.url is missing: name your NATS as nats://HOST:4222, or set nats.builtIn.enabled=true" -}}
{{- else if and .nats.builtIn.enabled .nats.url -}}
{{- $problems = append $problems (printf "nats.url (%s) and nats.builtIn.enabled=true exclude each other: keep one of them" .nats.url) -}}
{{- end -}}
{{- if and .nats.tls.clientCertificate (not .nats.tls.existingSecret) -}}
{{- $problems = append $problems "nats.tls.clientCertificate needs nats.tls.existingSecret, a secret with ca.crt, tls.crt and tls.key" -}}
{{- end -}}

{{- if eq .login.mode "off" -}}
{{- if not .login.open -}}
{{- $problems = append $problems "login.mode is off, so that whoever reaches the api can run commands: set login.mode=on, or login.open=true if that is what you want" -}}
{{- end -}}
{{- if not .login.existingSecret -}}
{{- $problems = append $problems (printf "login.existingSecret is missing, which holds the token while login is off: kubectl -n %s create secret generic jobmon-token --from-literal=token=$(openssl rand -hex 24), then set login.existingSecret=jobmon-token" $namespace) -}}
{{- end -}}
{{- end -}}

{{- if .login.pythonPort -}}
{{- if eq .login.mode "off" -}}
{{- $problems = append $problems "login.pythonPort is for login.mode=on: with login off Python clients call the ordinary port, so set login.pythonPort=0" -}}
{{- else if and .networkPolicy.enabled (not .networkPolicy.pythonClients) -}}
{{- $problems = append $problems (printf "networkPolicy.pythonClients is empty, so that nobody gets to login.pythonPort (%d): name who may, as [{ipBlock: {cidr: 10.0.0.0/8}}]" (int .login.pythonPort)) -}}
{{- end -}}
{{- if eq (int .login.pythonPort) (int .api.service.port) -}}
{{- $problems = append $problems (printf "login.pythonPort and api.service.port are both %d: a service has a port once" (int .login.pythonPort)) -}}
{{- end -}}
{{- end -}}

{{- if and .monitoring.serviceMonitor .networkPolicy.enabled (not .networkPolicy.monitoring) -}}
{{- $problems = append $problems "networkPolicy.monitoring is empty, so that Prometheus can't read what monitoring.serviceMonitor=true tells it to: name where it runs, as [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]" -}}
{{- end -}}

{{- if and (ne .route.kind "none") (not .route.host) -}}
{{- $problems = append $problems (printf "route.host is missing: route.kind=%s needs the name under which people call the api" .route.kind) -}}
{{- end -}}
{{- if and (eq .route.kind "gateway") (not .route.gateway.name) -}}
{{- $problems = append $problems "route.gateway.name is missing: `kubectl get gateways -A` shows what there is" -}}
{{- end -}}

{{- if and .agents.enabled (not .agents.existingSecret) -}}
{{- $problems = append $problems (printf "agents.existingSecret is missing: make a token by jobmon token create 'agents' --role %s, then kubectl -n %s create secret generic jobmon-agents --from-literal=token=…, then set agents.existingSecret=jobmon-agents" (.agents.anyUser | ternary "admin" "operator") $namespace) -}}
{{- end -}}
{{- end -}}

{{- $components := list -}}
{{- range fromJsonArray (include "jobmon.services" .) -}}
{{- if has .component $components -}}
{{- $problems = append $problems (printf "two entries of reapers have the version '%s': give each its own, or take one out" .version) -}}
{{- end -}}
{{- $components = append $components .component -}}
{{- $scaling := .values.autoscaling -}}
{{- if and $scaling.enabled (gt (int $scaling.min) (int $scaling.max)) -}}
{{- $problems = append $problems (printf "%s: autoscaling.min (%d) is above autoscaling.max (%d)" .component (int $scaling.min) (int $scaling.max)) -}}
{{- end -}}
{{- end -}}
{{- $reckoned := include "jobmon.connections" . | fromJson -}}
{{- $most := int $reckoned.most -}}
{{- $bound := sub (int .Values.database.maxConnections) (int .Values.database.reserve) -}}
{{- if gt $most $bound -}}
{{- $problems = append $problems (printf "the services may open %d connections to the database (%s, one pod of each more than its highest number since an upgrade starts one more, and 6 for migration, admin and test), but only %d may be taken (database.maxConnections %d - database.reserve %d): lower autoscaling.max or connections, or raise max_connections of the server to %d and database.maxConnections with it" $most (join ", " $reckoned.parts) $bound (int .Values.database.maxConnections) (int .Values.database.reserve) (add $most (int .Values.database.reserve))) -}}
{{- end -}}

{{- if $problems -}}
{{- fail (printf "\n\nThese values can't be installed:\n- %s\n" (join "\n- " $problems)) -}}
{{- end -}}
{{- end -}}

{{/* Connections that the pods may open, as JSON: most, all of them; parts, how they come about. An upgrade starts one pod more of each service. */}}
{{- define "jobmon.connections" -}}
{{- /* One for the migration, and for what is typed in the admin's pod and by the test. */ -}}
{{- $most := 6 -}}
{{- $parts := list -}}
{{- range fromJsonArray (include "jobmon.services" .) -}}
{{- $scaling := .values.autoscaling -}}
{{- $pods := add1 ($scaling.enabled | ternary $scaling.max .values.replicas | int) -}}
{{- $most = add $most (mul $pods (int .values.connections)) -}}
{{- $parts = append $parts (printf "%s %d x %d" .component $pods (int .values.connections)) -}}
{{- end -}}
{{- dict "most" $most "parts" $parts | toJson -}}
{{- end -}}
