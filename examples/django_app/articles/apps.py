"""The help centre's articles, found by what they mean."""

from django.apps import AppConfig


class ArticlesConfig(AppConfig):
    """Keeps documents in step with the articles."""

    name = "articles"

    def ready(self) -> None:
        """Say what of an article is searched, and for whom."""
        from articles.models import Article
        from pgcorpus.integrations.django.syncing import keep_in_step

        keep_in_step(
            Article,
            text=lambda article: f"{article.title}\n\n{article.body}",
            tenant=lambda article: article.customer_id,
            where=lambda article: article.published,
        )
