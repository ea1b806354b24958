"""The search: a page, and JSON with ?format=json."""

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from articles.models import Article
from pgcorpus.errors import CollectionNotFoundError
from pgcorpus.integrations.django import retriever, session
from pgcorpus.integrations.django.syncing import objects_and_hits


@login_required
def search(request: HttpRequest) -> HttpResponse:
    """Answer for the customer of the user who is logged in."""
    question, customer = request.GET.get("q", "").strip()[:1000], request.user.groups.first()
    found = find(question, customer) if question and customer else []
    if request.GET.get("format") == "json":
        return JsonResponse({"results": [{"title": article.title, "passage": passage} for article, passage in found]})
    return render(request, "articles/search.html", {"question": question, "found": found, "customer": customer})


def find(question: str, customer: Group) -> list[tuple[Article, str]]:
    """Return a customer's articles with the passage that is nearest to the question, the best first."""
    with session():
        try:
            hits = retriever(tenant=str(customer.pk), hybrid=True).retrieve(question, 10)
        except CollectionNotFoundError:
            return []  # nothing was written for this customer yet
    pairs = objects_and_hits(Article, hits, Article.objects.filter(customer=customer))
    return [(article, hit.document.content) for article, hit in pairs]
