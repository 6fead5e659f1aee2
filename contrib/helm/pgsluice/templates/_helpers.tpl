{{- define "pgsluice.labels" -}}
app.kubernetes.io/name: pgsluice
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}
