docker build -t registry.example/streams/words:try .
kubectl port-forward pod/words 9000
