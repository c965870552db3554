// Command toolbox does the small jobs that the control plane needs and no stock binary offers:
//
//	toolbox pki DIR SERVER-URL           a throw-away CA, serving and client certificates, tokens, kubeconfigs
//	toolbox metrics DIR ADDR FILE        a metrics API (resource, custom, external) that reads its values from FILE
//	toolbox forward ADDR NETNS TARGET    TCP from ADDR here to TARGET inside the network namespace at file NETNS
//	toolbox image OUT NAME CONFIG SRC[:DEST]...   an OCI image archive from local files; CONFIG is the image's config as JSON
//	toolbox pause                        the process that holds a pod's sandbox open
package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/api/resource"
)

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	log.SetFlags(log.LstdFlags | log.Lmicroseconds)
	a := os.Args[1:]
	switch {
	case len(a) == 3 && a[0] == "pki":
		pki(a[1], a[2])
	case len(a) == 4 && a[0] == "metrics":
		(&metrics{dir: a[1], file: a[3], api: newAPI(a[1])}).serve(a[2])
	case len(a) == 4 && a[0] == "forward":
		forward(a[1], a[2], a[3])
	case len(a) > 4 && a[0] == "image":
		image(a[1], a[2], a[3], a[4:])
	case len(a) == 1 && a[0] == "pause":
		pause()
	default:
		log.Fatal("usage: see the head of main.go")
	}
}

// ---- certificates, tokens, kubeconfigs ----

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func writePEM(path, kind string, der []byte) {
	check(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

func issue(dir, name string, tmpl *x509.Certificate, ca *authority) *authority {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tmpl.SerialNumber = must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)))
	tmpl.NotBefore, tmpl.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)
	self := &authority{tmpl, key}
	if ca == nil {
		ca = self
	}
	der := must(x509.CreateCertificate(rand.Reader, tmpl, ca.cert, &key.PublicKey, ca.key))
	self.cert = must(x509.ParseCertificate(der))
	writePEM(filepath.Join(dir, name+".crt"), "CERTIFICATE", der)
	writePEM(filepath.Join(dir, name+".key"), "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))
	return self
}

func caTemplate(cn string) *x509.Certificate {
	return &x509.Certificate{Subject: pkix.Name{CommonName: cn}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
}

func pki(dir, server string) {
	check(os.MkdirAll(dir, 0o700))
	ca := issue(dir, "ca", caTemplate("control-plane"), nil)
	leaf := func(cn string, org ...string) *x509.Certificate {
		return &x509.Certificate{Subject: pkix.Name{CommonName: cn, Organization: org}, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	}
	srv := leaf("kube-apiserver")
	srv.DNSNames = []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	srv.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 96, 0, 1), net.IPv4(10, 245, 0, 1)}
	issue(dir, "apiserver", srv, ca)
	issue(dir, "kubelet-client", leaf("apiserver-kubelet-client", "system:masters"), ca)
	issue(dir, "front-proxy", leaf("front-proxy"), issue(dir, "front-proxy-ca", caTemplate("front-proxy"), nil))
	sa := must(rsa.GenerateKey(rand.Reader, 2048))
	writePEM(filepath.Join(dir, "sa.key"), "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(sa)))
	writePEM(filepath.Join(dir, "sa.pub"), "PUBLIC KEY", must(x509.MarshalPKIXPublicKey(&sa.PublicKey)))

	users := []struct{ name, user, group string }{
		{"admin", "admin", "system:masters"},
		{"kube-controller-manager", "system:kube-controller-manager", ""},
		{"kube-scheduler", "system:kube-scheduler", ""},
		{"metrics", "metrics", "system:masters"},
		{"kubelet", "system:node:real-1", "system:nodes"},
		{"kube-proxy", "system:kube-proxy", ""},
		{"coredns", "coredns", "system:masters"},
	}
	var tokens strings.Builder
	for _, u := range users {
		b := make([]byte, 24)
		must(rand.Read(b))
		token := hex.EncodeToString(b)
		fmt.Fprintf(&tokens, "%s,%s,%s,%q\n", token, u.user, u.user, u.group)
		check(os.WriteFile(filepath.Join(dir, u.name+".token"), []byte(token), 0o600))
		check(os.WriteFile(filepath.Join(dir, u.name+".kubeconfig"), []byte(fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: default
clusters: [{name: default, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: default, user: {token: %s}}]
contexts: [{name: default, context: {cluster: default, user: default}}]
`, server, filepath.Join(dir, "ca.crt"), token)), 0o600))
	}
	check(os.WriteFile(filepath.Join(dir, "tokens.csv"), []byte(tokens.String()), 0o600))
	check(os.WriteFile(filepath.Join(dir, "server"), []byte(server), 0o600))
}

// ---- a minimal API client ----

type api struct {
	server, token string
	http          *http.Client
}

func newAPI(dir string) *api {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(must(os.ReadFile(filepath.Join(dir, "ca.crt"))))
	return &api{
		server: string(must(os.ReadFile(filepath.Join(dir, "server")))),
		token:  string(must(os.ReadFile(filepath.Join(dir, "metrics.token")))),
		http:   &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}},
	}
}

func (c *api) get(path string, into any) error {
	req := must(http.NewRequest("GET", c.server+path, nil))
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Accept", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		b, _ := io.ReadAll(res.Body)
		return fmt.Errorf("%s: %s %s", path, res.Status, b)
	}
	return json.NewDecoder(res.Body).Decode(into)
}

// ---- metrics API ----

// The values live in a text file, one per line, read again on every request:
//
//	pods     NAMESPACE WORKLOAD METRIC QUANTITY   shared out evenly over the ready pods whose name starts with WORKLOAD-
//	object   NAMESPACE RESOURCE/NAME METRIC QUANTITY
//	external NAMESPACE METRIC QUANTITY
//
// "cpu" and "memory" of kind pods feed the resource metrics API, every other name the custom one.
type metrics struct {
	dir, file string
	api       *api
}

type m = map[string]any

type podList struct {
	Items []struct {
		Metadata struct {
			Name, Namespace string
			Labels          map[string]string
		}
		Spec struct {
			Containers []struct{ Name string }
		}
		Status struct{ Phase string }
	}
}

func (s *metrics) lines(kind string, n int) (out [][]string) {
	f, err := os.Open(s.file)
	if err != nil {
		return nil
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if w := strings.Fields(sc.Text()); len(w) == n && w[0] == kind {
			out = append(out, w)
		}
	}
	return out
}

// perPod returns metric -> value for one pod, the workload's sum divided by its number of running pods.
func (s *metrics) perPod(ns string, all podList) map[string]map[string]*resource.Quantity {
	out := map[string]map[string]*resource.Quantity{}
	for _, l := range s.lines("pods", 5) {
		if l[1] != ns {
			continue
		}
		var hit []string
		for _, p := range all.Items {
			if strings.HasPrefix(p.Metadata.Name, l[2]+"-") && p.Status.Phase == "Running" {
				hit = append(hit, p.Metadata.Name)
			}
		}
		q, err := resource.ParseQuantity(l[4])
		if err != nil {
			log.Print(err)
			continue
		}
		for _, name := range hit {
			if out[name] == nil {
				out[name] = map[string]*resource.Quantity{}
			}
			out[name][l[3]] = resource.NewMilliQuantity(q.MilliValue()/int64(len(hit)), q.Format)
		}
	}
	return out
}

func (s *metrics) pods(ns, selector string) (match, all podList, err error) {
	base := "/api/v1/namespaces/" + url.PathEscape(ns) + "/pods"
	if err = s.api.get(base, &all); err == nil {
		err = s.api.get(base+"?labelSelector="+url.QueryEscape(selector), &match)
	}
	return
}

func (s *metrics) serve(addr string) {
	now := func() string { return time.Now().UTC().Format(time.RFC3339) }
	groups := map[string]string{"metrics.k8s.io": "v1beta1", "custom.metrics.k8s.io": "v1beta2", "external.metrics.k8s.io": "v1beta1"}
	h := func(w http.ResponseWriter, r *http.Request) {
		seg := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
		reply := func(v any) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v)
		}
		fail := func(code int, msg string) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			_ = json.NewEncoder(w).Encode(m{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": msg})
		}
		if len(seg) < 2 || seg[0] != "apis" || groups[seg[1]] == "" {
			fail(404, "not found")
			return
		}
		group, version := seg[1], groups[seg[1]]
		gv := group + "/" + version
		if len(seg) == 2 {
			reply(m{"kind": "APIGroup", "apiVersion": "v1", "name": group, "versions": []m{{"groupVersion": gv, "version": version}},
				"preferredVersion": m{"groupVersion": gv, "version": version}})
			return
		}
		if len(seg) == 3 {
			res := []m{}
			if group == "metrics.k8s.io" {
				res = []m{{"name": "pods", "namespaced": true, "kind": "PodMetrics", "verbs": []string{"get", "list"}},
					{"name": "nodes", "namespaced": false, "kind": "NodeMetrics", "verbs": []string{"get", "list"}}}
			}
			reply(m{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": gv, "resources": res})
			return
		}
		list := func(kind string, items []m) {
			reply(m{"kind": kind, "apiVersion": gv, "metadata": m{}, "items": items})
		}
		items := []m{}
		switch {
		case group == "metrics.k8s.io" && len(seg) == 6 && seg[3] == "namespaces" && seg[5] == "pods":
			match, all, err := s.pods(seg[4], r.URL.Query().Get("labelSelector"))
			if err != nil {
				fail(500, err.Error())
				return
			}
			per := s.perPod(seg[4], all)
			for _, p := range match.Items {
				v := per[p.Metadata.Name]
				if v["cpu"] == nil && v["memory"] == nil || p.Status.Phase != "Running" {
					continue
				}
				cs := []m{}
				for _, c := range p.Spec.Containers { // each container gets an equal part, so utilisation stays right
					u := m{}
					for _, k := range []string{"cpu", "memory"} {
						q := resource.NewQuantity(0, resource.DecimalSI)
						if v[k] != nil {
							q = resource.NewMilliQuantity(v[k].MilliValue()/int64(len(p.Spec.Containers)), v[k].Format)
						}
						u[k] = q.String()
					}
					cs = append(cs, m{"name": c.Name, "usage": u})
				}
				items = append(items, m{"metadata": m{"name": p.Metadata.Name, "namespace": seg[4], "labels": p.Metadata.Labels},
					"timestamp": now(), "window": "10s", "containers": cs})
			}
			list("PodMetricsList", items)
		case group == "metrics.k8s.io" && len(seg) == 4 && seg[3] == "nodes":
			list("NodeMetricsList", items)
		case group == "external.metrics.k8s.io" && len(seg) == 6 && seg[3] == "namespaces":
			for _, l := range s.lines("external", 4) {
				if l[1] == seg[4] && l[2] == seg[5] {
					items = append(items, m{"metricName": l[2], "metricLabels": m{}, "timestamp": now(), "value": l[3]})
				}
			}
			if len(items) == 0 {
				fail(404, "no such external metric")
				return
			}
			list("ExternalMetricValueList", items)
		case group == "custom.metrics.k8s.io" && len(seg) == 8 && seg[3] == "namespaces":
			ns, res, name, metric := seg[4], seg[5], seg[6], seg[7]
			add := func(kind, name, value string) {
				items = append(items, m{"describedObject": m{"kind": kind, "namespace": ns, "name": name, "apiVersion": "/v1"},
					"metric": m{"name": metric}, "timestamp": now(), "value": value})
			}
			if res == "pods" && name == "*" {
				match, all, err := s.pods(ns, r.URL.Query().Get("labelSelector"))
				if err != nil {
					fail(500, err.Error())
					return
				}
				per := s.perPod(ns, all)
				for _, p := range match.Items {
					if q := per[p.Metadata.Name][metric]; q != nil {
						add("Pod", p.Metadata.Name, q.String())
					}
				}
			} else {
				for _, l := range s.lines("object", 5) {
					if l[1] == ns && l[3] == metric && (l[2] == res+"/"+name || l[2] == strings.SplitN(res, ".", 2)[0]+"/"+name) {
						add(res, name, l[4])
					}
				}
			}
			if len(items) == 0 {
				fail(404, "no such custom metric")
				return
			}
			list("MetricValueList", items)
		default:
			fail(404, "not found")
		}
	}
	srv := &http.Server{Addr: addr, Handler: http.HandlerFunc(h), ErrorLog: log.Default()}
	log.Fatal(srv.ListenAndServeTLS(filepath.Join(s.dir, "apiserver.crt"), filepath.Join(s.dir, "apiserver.key")))
}

// ---- the real node ----

func forward(listen, netns, target string) {
	l := must(net.Listen("tcp", listen))
	for {
		in := must(l.Accept()).(*net.TCPConn)
		go func() {
			runtime.LockOSThread() // never unlocked: the thread, moved to the other namespace, ends with this goroutine
			f := must(os.Open(netns))
			check(unix.Setns(int(f.Fd()), unix.CLONE_NEWNET))
			f.Close()
			c, err := net.Dial("tcp", target)
			if err != nil {
				log.Print(err)
				in.Close()
				return
			}
			out := c.(*net.TCPConn)
			done := make(chan struct{})
			go func() { _, _ = io.Copy(out, in); out.CloseWrite(); close(done) }()
			_, _ = io.Copy(in, out)
			in.CloseWrite()
			<-done
			in.Close()
			out.Close()
		}()
	}
}

func pause() {
	c := make(chan os.Signal, 8)
	signal.Notify(c, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for s := range c {
		if s != syscall.SIGCHLD {
			return
		}
		for p := 1; p > 0; {
			p, _ = syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		}
	}
}

// image writes an OCI archive with one layer. A SRC that is a directory goes in with all below it.
func image(out, name, config string, sources []string) {
	var layer bytes.Buffer
	tw := tar.NewWriter(&layer)
	seen := map[string]bool{}
	mkdir := func(dir string, mode int64) {
		if dir != "." && dir != "" && !seen[dir] {
			seen[dir] = true
			check(tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: mode}))
		}
	}
	parents := func(name string) {
		parts := strings.Split(filepath.Dir(name), "/")
		for i := range parts {
			mkdir(strings.Join(parts[:i+1], "/"), 0o755)
		}
	}
	mkdir("tmp", 0o1777)
	for _, d := range []string{"dev", "etc", "proc", "sys"} {
		mkdir(d, 0o755)
	}
	for _, s := range sources {
		src, dest, found := strings.Cut(s, ":")
		if !found {
			dest = src
		}
		dest = strings.Trim(filepath.Clean(dest), "/")
		if st := must(os.Stat(src)); !st.IsDir() {
			src = must(filepath.EvalSymlinks(src))
		}
		check(filepath.WalkDir(src, func(path string, e fs.DirEntry, err error) error {
			check(err)
			fi := must(e.Info())
			link := ""
			if fi.Mode()&os.ModeSymlink != 0 {
				link = must(os.Readlink(path))
			}
			to := filepath.Join(dest, must(filepath.Rel(src, path)))
			if to == "." || seen[to] {
				return nil
			}
			parents(to)
			seen[to] = true
			hd := must(tar.FileInfoHeader(fi, link))
			hd.Name, hd.Uid, hd.Gid, hd.Uname, hd.Gname = to, 0, 0, "", ""
			hd.ModTime = time.Unix(0, 0)
			check(tw.WriteHeader(hd))
			if fi.Mode().IsRegular() {
				f := must(os.Open(path))
				must(io.Copy(tw, f))
				f.Close()
			}
			return nil
		}))
	}
	check(tw.Close())

	var ar bytes.Buffer
	aw := tar.NewWriter(&ar)
	put := func(name string, b []byte) {
		check(aw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(b))}))
		must(aw.Write(b))
	}
	blob := func(media string, b []byte) m {
		sum := fmt.Sprintf("%x", sha256.Sum256(b))
		put("blobs/sha256/"+sum, b)
		return m{"mediaType": media, "digest": "sha256:" + sum, "size": len(b)}
	}
	const oci = "application/vnd.oci.image."
	l := blob(oci+"layer.v1.tar", layer.Bytes())
	c := blob(oci+"config.v1+json", must(json.Marshal(m{"architecture": "amd64", "os": "linux", "config": json.RawMessage(config),
		"rootfs": m{"type": "layers", "diff_ids": []any{l["digest"]}}})))
	man := blob(oci+"manifest.v1+json", must(json.Marshal(m{"schemaVersion": 2, "mediaType": oci + "manifest.v1+json", "config": c, "layers": []m{l}})))
	man["annotations"] = m{"io.containerd.image.name": name}
	put("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	put("index.json", must(json.Marshal(m{"schemaVersion": 2, "manifests": []m{man}})))
	check(aw.Close())
	check(os.WriteFile(out, ar.Bytes(), 0o644))
}
